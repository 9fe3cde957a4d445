/*
 * Finds one number in a JSON text that is known to be valid, such as the context of a step. No memory is allocated.
 */
#ifndef JSON_NUMBER_H
#define JSON_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define JSON_NUMBER_MAX 63

/* Returns the position after blanks. */
static size_t json_after_blanks(const char *text, size_t length, size_t at) {
    while (at < length && (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r')) {
        at++;
    }
    return at;
}

/* Returns the position after the string whose opening quote is at `at`. */
static size_t json_after_string(const char *text, size_t length, size_t at) {
    for (at++; at < length && text[at] != '"'; at++) {
        if (text[at] == '\\') {
            at++;
        }
    }
    return at < length ? at + 1 : length;
}

/* Returns the position after the value that begins at `at`, whatever it is. */
static size_t json_after_value(const char *text, size_t length, size_t at) {
    size_t depth = 0;
    while (at < length) {
        char c = text[at];
        if (c == '"') {
            at = json_after_string(text, length, at);
        } else if (c == '{' || c == '[') {
            depth++;
            at++;
        } else if (c == '}' || c == ']') {
            if (depth == 0) {
                return at;
            }
            depth--;
            at++;
        } else if (c == ',' && depth == 0) {
            return at;
        } else {
            at++;
            continue;
        }
        if (depth == 0) {
            return at;
        }
    }
    return at;
}

/* Moves `*at` from an object to the value of one of its keys. Keys that are written with escapes are not found. */
static bool json_enter(const char *text, size_t length, size_t *at, const char *key) {
    size_t wanted = strlen(key);
    size_t here = json_after_blanks(text, length, *at);
    if (here >= length || text[here] != '{') {
        return false;
    }
    here = json_after_blanks(text, length, here + 1);
    while (here < length && text[here] == '"') {
        size_t name = here + 1;
        here = json_after_string(text, length, here);
        bool found = here - 1 - name == wanted && memcmp(text + name, key, wanted) == 0;
        here = json_after_blanks(text, length, here);
        here = json_after_blanks(text, length, here + 1); /* the colon */
        if (found) {
            *at = here;
            return true;
        }
        here = json_after_blanks(text, length, json_after_value(text, length, here));
        if (here >= length || text[here] != ',') {
            return false;
        }
        here = json_after_blanks(text, length, here + 1);
    }
    return false;
}

/* Reads the number at `path`, keys from the outermost object inwards, ended by NULL. False if there is no number. */
static bool json_number(const char *text, size_t length, const char *const *path, double *number) {
    char copy[JSON_NUMBER_MAX + 1];
    size_t at = 0;
    for (; *path != NULL; path++) {
        if (!json_enter(text, length, &at, *path)) {
            return false;
        }
    }
    size_t digits = 0;
    while (at + digits < length && digits < JSON_NUMBER_MAX && strchr("+-.0123456789eE", text[at + digits]) != NULL
           && text[at + digits] != '\0') {
        digits++;
    }
    if (digits == 0 || digits == JSON_NUMBER_MAX) {
        return false;
    }
    memcpy(copy, text + at, digits); /* strtod needs a NUL, which the text does not have */
    copy[digits] = '\0';
    char *end = NULL;
    *number = strtod(copy, &end);
    return end == copy + digits;
}

#endif
