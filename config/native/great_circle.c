/*
 * A step handler: the distance between two places on the surface of the earth.
 *
 *     cc -std=c11 -O2 -shared -fPIC -o great_circle.so great_circle.c -lm
 *
 * The task's context has from_latitude, from_longitude, to_latitude and to_longitude in degrees; the result is
 * {"distance_km": …}. Without them the step fails for good, as `missing_coordinates`.
 */
#include "tasker_native.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_number.h"

#define EARTH_RADIUS_KM 6371.0088 /* mean radius, IUGG */
#define RADIANS (3.14159265358979323846 / 180.0)
#define ANSWER_BYTES 160

uint32_t tasker_abi_version(void) {
    return TASKER_ABI_VERSION;
}

int tasker_init(const char *configuration, size_t length) {
    (void)configuration;
    (void)length;
    return 0;
}

void tasker_free(char *data, size_t length) {
    (void)length;
    free(data);
}

/* Without memory the answer stays NULL, which the runtime reports. */
static int answer(tasker_result *result, int code, const char *json) {
    size_t length = strlen(json);
    char *copy = malloc(length);
    if (copy != NULL) {
        memcpy(copy, json, length);
        result->data = copy;
        result->length = length;
    }
    return code;
}

/* The haversine formula, which stays exact for places that are close to each other. */
static double distance_km(double latitude_1, double longitude_1, double latitude_2, double longitude_2) {
    double up = sin((latitude_2 - latitude_1) * RADIANS / 2);
    double along = sin((longitude_2 - longitude_1) * RADIANS / 2);
    double half = up * up + cos(latitude_1 * RADIANS) * cos(latitude_2 * RADIANS) * along * along;
    return 2 * EARTH_RADIUS_KM * asin(sqrt(fmin(1.0, half)));
}

int great_circle(const char *context, size_t length, tasker_result *result) {
    static const char *const names[] = {"from_latitude", "from_longitude", "to_latitude", "to_longitude"};
    double degrees[4];
    char json[ANSWER_BYTES];
    for (size_t each = 0; each < 4; each++) {
        const char *const path[] = {"input_data", names[each], NULL};
        if (!json_number(context, length, path, &degrees[each])) {
            snprintf(json, sizeof json,
                     "{\"message\": \"the context has no number %s\", \"error_type\": \"missing_coordinates\", "
                     "\"retryable\": false}",
                     names[each]);
            return answer(result, TASKER_FAILED, json);
        }
    }
    snprintf(json, sizeof json, "{\"distance_km\": %.3f}",
             distance_km(degrees[0], degrees[1], degrees[2], degrees[3]));
    return answer(result, TASKER_OK, json);
}
