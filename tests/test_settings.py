"""Settings: every variable, every refusal, and no way for a secret to slip out."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import logging
import pickle
import pprint
import traceback
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import ConfigurationError
from holdfast.settings import Secret, Settings

# Long enough, and of such characters, that it cannot occur by chance in what is printed anyway.
passwords = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40).map(
    lambda tail: "pÄss" + tail + "wÖrd"
)
raw_in_urls = st.text(st.characters(codec="utf-8"), max_size=20).map(
    lambda tail: "hunter2hunter2" + tail
)


class TestValues:
    def test_nothing_set(self) -> None:
        settings = Settings.from_env({})
        assert settings == Settings()
        assert (settings.failure_threshold, settings.reset_timeout, settings.monitor_period) == (
            5,
            300.0,
            10.0,
        )
        assert settings.redis_dsn() is None
        assert settings.redis_display() is None

    def test_empty_means_unset(self) -> None:
        names = ["REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB"]
        names += ["CB_FAILURE_THRESHOLD", "CB_RESET_TIMEOUT", "CB_MONITOR_PERIOD"]
        assert Settings.from_env(dict.fromkeys(names, "")) == Settings()

    def test_everything_set(self) -> None:
        settings = Settings.from_env(
            {
                "REDIS_HOST": "cache.internal",
                "REDIS_PORT": " 6380 ",
                "REDIS_PASSWORD": " s p ",
                "REDIS_DB": "3",
                "CB_FAILURE_THRESHOLD": "7",
                "CB_RESET_TIMEOUT": "1500",
                "CB_MONITOR_PERIOD": "250",
                "UNRELATED": "x",
            }
        )
        assert settings == Settings(
            redis_host="cache.internal",
            redis_port=6380,
            redis_password=Secret(" s p "),
            redis_db=3,
            failure_threshold=7,
            reset_timeout=1.5,
            monitor_period=0.25,
        )

    def test_the_process_environment_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CB_FAILURE_THRESHOLD", "9")
        assert Settings.from_env().failure_threshold == 9

    def test_frozen_and_keyword_only(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            Settings().redis_db = 1  # type: ignore[misc]
        with pytest.raises(TypeError):
            Settings(Secret("redis://x"))  # type: ignore[misc]


class TestAddress:
    @pytest.mark.parametrize(
        ("environ", "dsn"),
        [
            ({"REDIS_HOST": "a"}, "redis://a:6379/0"),
            ({"REDIS_HOST": "a", "REDIS_PORT": "1", "REDIS_DB": "2"}, "redis://a:1/2"),
            ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0"),
            ({"REDIS_HOST": "[fe80::1]"}, "redis://[fe80::1]:6379/0"),
            (
                {"REDIS_HOST": "a", "REDIS_PASSWORD": "p@/:?#%"},
                "redis://:p%40%2F%3A%3F%23%25@a:6379/0",
            ),
            ({"REDIS_HOST": "a", "REDIS_PASSWORD": "\udcff"}, "redis://:%FF@a:6379/0"),
            ({"REDIS_URL": "redis://b", "REDIS_HOST": "a"}, "redis://b"),
            ({"REDIS_URL": "redis://b", "REDIS_PORT": "tcp://1.2.3.4:6379"}, "redis://b"),
        ],
    )
    def test_dsn(self, environ: dict[str, str], dsn: str) -> None:
        found = Settings.from_env(environ).redis_dsn()
        assert found is not None
        assert found.reveal() == dsn

    @given(passwords)
    def test_any_password_survives_the_dsn(self, password: str) -> None:
        dsn = Settings(redis_host="a", redis_password=Secret(password)).redis_dsn()
        assert dsn is not None
        parts = urlsplit(dsn.reveal())
        assert (unquote(parts.password or ""), parts.hostname, parts.port, parts.path) == (
            password,
            "a",
            6379,
            "/0",
        )

    def test_redis_py_reads_it_the_same_way(self) -> None:
        redis = pytest.importorskip("redis", reason="redis is not installed")
        settings = Settings(redis_host="::1", redis_password=Secret("p@:/?#%ä"), redis_db=4)
        dsn = settings.redis_dsn()
        assert dsn is not None
        read = redis.connection.parse_url(dsn.reveal())
        assert read == {"host": "::1", "port": 6379, "password": "p@:/?#%ä", "db": 4}

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("redis://cache", "redis://cache"),
            ("redis://:hunter2@cache:6379/1", "redis://***@cache:6379/1"),
            ("rediss://user:hunter2@[::1]:6380/", "rediss://***@[::1]:6380/"),
            ("redis://cache?password=hunter2", "redis://cache?***"),
            ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?***"),
            ("unix://:hunter2@/run/redis.sock", "unix://***@/run/redis.sock"),
            ("redis+sentinel://a:26379,b,c/main/2", "redis+sentinel://a:26379,b,c/main/2"),
            ("rediss+sentinel://u:hunter2@a,b/main", "rediss+sentinel://***@a,b/main"),
            ("redis+cluster://a:7000,b:7001", "redis+cluster://a:7000,b:7001"),
            ("rediss+cluster://a:7000/0", "rediss+cluster://a:7000/0"),
        ],
    )
    def test_every_form_of_url(self, url: str, shown: str) -> None:
        settings = Settings.from_env({"REDIS_URL": url})
        assert settings.redis_url == Secret(url)
        assert settings.redis_display() == shown

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("cache:6379", "starts with redis://, rediss://, unix://"),
            ("http://cache", "starts with redis://"),
            ("redis://", "names or addresses"),
            ("redis://ca che", "well formed"),
            ("redis://a,b", "one host"),
            ("redis://a:0", "ports from 1 to 65535"),
            ("redis://a:65536", "ports from 1 to 65535"),
            ("redis://a:x", "ports from 1 to 65535"),
            ("redis://a/x", "whole number"),
            ("redis://a/1/2", "whole number"),
            ("redis://a#1", "well formed"),
            ("redis://:p@ss@a", "percent-encoded"),
            ("unix://host/path", "absolute path"),
            ("unix://", "absolute path"),
            ("redis+sentinel://a,b", "names the Sentinel service"),
            ("redis+sentinel://a/main/x", "whole number"),
            ("redis+cluster://a/1", "without a database"),
        ],
    )
    def test_bad_urls(self, url: str, said: str) -> None:
        with pytest.raises(ConfigurationError, match=r"^REDIS_URL must be ") as caught:
            Settings.from_env({"REDIS_URL": url})
        assert said in str(caught.value)
        with pytest.raises(ConfigurationError, match=r"^redis_url must be "):
            Settings(redis_url=Secret(url))


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "value", "allowed"),
        [
            ("CB_FAILURE_THRESHOLD", "0", "a whole number from 1 to 1000000"),
            ("CB_FAILURE_THRESHOLD", "1.5", "a whole number"),
            ("CB_FAILURE_THRESHOLD", "٣", "a whole number"),
            ("CB_RESET_TIMEOUT", "0", "a whole number of milliseconds from 1"),
            ("CB_RESET_TIMEOUT", "5s", "a whole number of milliseconds"),
            ("CB_RESET_TIMEOUT", "2592000001", "to 2592000000"),
            ("CB_MONITOR_PERIOD", "-1", "a whole number of milliseconds"),
            ("CB_MONITOR_PERIOD", "inf", "a whole number of milliseconds"),
            ("REDIS_PORT", "0", "a whole number from 1 to 65535"),
            ("REDIS_PORT", "65536", "a whole number from 1 to 65535"),
            ("REDIS_PORT", "tcp://10.0.0.1:6379", "Kubernetes"),
            ("REDIS_DB", "-1", "a whole number from 0"),
            ("REDIS_DB", "zero", "a whole number from 0"),
            ("REDIS_HOST", "cache:6379", "a host name or an IP address"),
            ("REDIS_HOST", "redis://cache", "a URL belongs in REDIS_URL"),
            ("REDIS_HOST", "ca che", "a host name or an IP address"),
        ],
    )
    def test_name_value_and_what_is_allowed(self, name: str, value: str, allowed: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Settings.from_env({"REDIS_HOST": "cache", name: value})
        said = str(caught.value)
        assert said.startswith(f"{name} must be ")
        assert said.endswith(f"not {value!r}")
        assert allowed in said

    def test_all_of_them_at_once(self) -> None:
        environ = {
            "REDIS_HOST": "no host",
            "REDIS_PORT": "x",
            "REDIS_DB": "y",
            "CB_FAILURE_THRESHOLD": "a",
            "CB_RESET_TIMEOUT": "b",
            "CB_MONITOR_PERIOD": "c",
        }
        with pytest.raises(ConfigurationError) as caught:
            Settings.from_env(environ)
        assert all(f"{name} must be" in str(caught.value) for name in environ)
        environ["REDIS_URL"] = "nonsense"
        with pytest.raises(
            ConfigurationError, match=r"^REDIS_URL must be .*; CB_FAILURE"
        ) as caught:
            Settings.from_env(environ)

    @pytest.mark.parametrize("name", ["REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB"])
    def test_a_companion_without_a_host(self, name: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Settings.from_env({name: "6543"})
        assert str(caught.value) == f"{name} is set, but neither REDIS_HOST nor REDIS_URL is"

    def test_what_kubernetes_announces_by_itself_is_no_mistake(self) -> None:
        assert Settings.from_env({"REDIS_PORT": "tcp://10.0.0.1:6379"}) == Settings()

    @pytest.mark.parametrize(
        "options",
        [
            {"redis_port": 0},
            {"redis_db": -1},
            {"failure_threshold": 0},
            {"reset_timeout": 0},
            {"reset_timeout": float("nan")},
            {"monitor_period": -1.0},
            {"redis_host": "a b"},
            {"redis_host": "1:2"},
            {"redis_url": "redis://:hunter2@a"},
            {"redis_password": "hunter2"},
        ],
    )
    def test_options_given_in_code(self, options: dict[str, object]) -> None:
        (name,) = options
        with pytest.raises(ConfigurationError, match=f"^{name} must be ") as caught:
            Settings(**options)  # type: ignore[arg-type]
        assert "hunter2" not in str(caught.value)


def shown(thing: object) -> str:
    """Everything that prints `thing` without being told its secret, in one text."""
    stream = io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(stream))
    logger.error("%s %r", thing, thing)
    logger.error(thing)
    return "\n".join(
        [
            repr(thing),
            str(thing),
            f"{thing}",
            f"{thing!r}",
            "%s" % (thing,),  # noqa: UP031
            pprint.pformat(thing),
            repr([thing]),
            repr(copy.deepcopy(thing)),
            stream.getvalue(),
        ]
    )


class TestSecrets:
    @given(passwords)
    def test_a_password_is_never_shown(self, password: str) -> None:
        settings = Settings.from_env({"REDIS_HOST": "a", "REDIS_PASSWORD": password})
        secret = settings.redis_password
        assert secret is not None
        assert secret.reveal() == password
        fields = dataclasses.asdict(settings)
        printed = "".join(map(shown, (settings, secret, settings.redis_dsn(), fields)))
        printed += json.dumps(fields, default=str, ensure_ascii=False)
        printed += f"{secret:>60}" + str(settings.redis_display())
        assert "pÄss" not in printed
        assert "wÖrd" not in printed

    @given(raw_in_urls, st.sampled_from(["redis", "rediss+cluster", "unix", "http", "x y"]))
    def test_whatever_stands_in_a_url_where_a_password_belongs(self, raw: str, scheme: str) -> None:
        for url in (f"{scheme}://:{raw}@a", f"{scheme}://u:{raw}@a:1/x", f":{raw}@a"):
            try:
                printed = shown(Settings.from_env({"REDIS_URL": url}))
            except ConfigurationError as exc:
                printed = shown(exc)
            assert "hunter2" not in printed

    @given(raw_in_urls)
    def test_a_url_in_the_wrong_variable(self, raw: str) -> None:
        for name in ("REDIS_HOST", "REDIS_PORT", "REDIS_DB", "CB_RESET_TIMEOUT"):
            with pytest.raises(ConfigurationError) as caught:
                Settings.from_env({"REDIS_HOST": "a", name: f"redis://:{raw}@a"})
            assert "hunter2" not in shown(caught.value)

    def test_a_traceback_that_prints_local_variables(self) -> None:
        settings = Settings(redis_host="a", redis_password=Secret("hunter2"))

        def fail(settings: Settings) -> None:
            dsn = settings.redis_dsn()
            raise RuntimeError(f"cannot reach {dsn}")

        try:
            fail(settings)
        except RuntimeError as exc:
            told = traceback.TracebackException.from_exception(exc, capture_locals=True)
            assert "hunter2" not in "".join(told.format())

    def test_no_attribute_dictionary(self) -> None:
        for thing in (Secret("x"), Settings()):
            with pytest.raises(TypeError):
                vars(thing)

    def test_it_cannot_be_pickled_or_written_as_json(self) -> None:
        for act in (pickle.dumps, json.dumps):
            with pytest.raises(TypeError) as caught:
                act(Secret("hunter2"))
            assert "hunter2" not in str(caught.value)

    def test_it_behaves_like_a_value(self) -> None:
        assert Secret("a") == Secret("a")
        assert Secret("a") != Secret("b")
        assert Secret("a") != "a"
        assert len({Secret("a"), Secret("a")}) == 1
        assert copy.copy(Secret("a")) == Secret("a")
        with pytest.raises(AttributeError):
            Secret("a")._text = "b"
        with pytest.raises(AttributeError):
            del Secret("a")._text

    def test_only_text(self) -> None:
        with pytest.raises(ConfigurationError, match="must be a str, not a bytes") as caught:
            Secret(b"hunter2")  # type: ignore[arg-type]
        assert "hunter2" not in str(caught.value)
