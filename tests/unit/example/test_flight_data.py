"""The files of the example, as contexts of tasks and as tables for handlers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasker_actors.example import flight_data
from tasker_actors.example.flight_data import FLIGHTS_DIRECTORY


def test_flights_have_numbers_as_numbers_and_na_as_null() -> None:
    flights = flight_data.flights()

    assert len(flights) == 930
    first = flights[0]
    assert (first["dep_time"], first["dep_delay"], first["hour"]) == (458, -2, 5)
    assert (first["carrier"], first["flight"], first["tailnum"]) == ("US", 1117, "N197UW")
    assert first["time_hour"] == "2013-02-08T10:00:00Z"
    assert len(first) == 19
    cancelled = [flight for flight in flights if flight["dep_time"] is None]
    assert len(cancelled) == 472
    assert {flight["dep_delay"] for flight in cancelled} == {None}
    assert "NA" not in {value for flight in flights for value in flight.values()}


def test_columns_of_text_stay_text_when_they_look_like_numbers() -> None:
    models = {plane["model"] for plane in flight_data.planes().values()}

    assert "717-200" in models
    assert "150" in models
    assert all(isinstance(model, str) for model in models)


def test_weather_is_found_by_airport_and_hour_with_fractions() -> None:
    observed = flight_data.weather()["JFK", 13]

    assert (observed["origin"], observed["hour"]) == ("JFK", 13)
    assert isinstance(observed["temp"], float)
    assert {row["pressure"] for row in flight_data.weather().values()} >= {None}


def test_every_carrier_of_the_day_has_a_name() -> None:
    assert {flight["carrier"] for flight in flight_data.flights()} <= flight_data.airlines().keys()


def test_a_table_is_read_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    first = flight_data.weather()

    def unreadable(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Path, "open", unreadable)

    assert flight_data.weather() is first


def test_what_is_no_number_in_a_column_of_numbers_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "flights-2013-02-08.csv").write_text("carrier,flight\nUA,many\n", encoding="utf-8")
    monkeypatch.setattr(flight_data, "FLIGHTS_DIRECTORY", tmp_path)

    with pytest.raises(ValueError, match="many"):
        flight_data.flights()


def test_the_data_says_where_it_is_from() -> None:
    readme = (FLIGHTS_DIRECTORY / "data" / "README.md").read_text(encoding="utf-8")

    assert "nycflights13" in readme
    assert "CC0" in readme
