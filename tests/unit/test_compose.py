"""docker-compose.yml and the Dockerfile are of one piece with the settings, the commands and the files beside them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from app.cli import app
from app.models.manifests.manifest import LAKE_BUCKET, LANDING_BUCKET
from app.settings import Settings
from tests.unit.test_readme import variables

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
ONE_SHOTS = {"migrate", "store-init", "keys"}
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?::(-|\?)([^}]*))?\}")

Json = dict[str, Any]


def development() -> dict[str, str]:
    lines = (ROOT / "deploy" / "development.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def composed(given: dict[str, str]) -> Json:
    """The file with its variables filled in as Compose does. Raises LookupError for a required one that is missing."""

    def value(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if given.get(name):
            return given[name]
        if kind == "-":
            return str(text)
        raise LookupError(f"{name}: {text}")

    loaded: Json = yaml.safe_load(_VARIABLE.sub(value, "\n".join(x for x in TEXT.splitlines() if x.strip()[:1] != "#")))
    return loaded


SERVICES: Json = composed(development())["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "spatial-etl:0.1.0"}
# Those of the container itself: its ports and volumes are in docker-compose.yml.
IN_THE_IMAGE = {"SPATIAL_ETL_DATA_DIR", "SPATIAL_ETL_API__HOST", "SPATIAL_ETL_API__PORT"}
# Of services that take their command from the Dockerfile's entry point, with what their health checks call.
COMMANDS = [(name, service.get("entrypoint", [])[1:] + service["command"]) for name, service in OURS.items()] + [
    (name, service["healthcheck"]["test"][2:])
    for name, service in OURS.items()
    if service.get("healthcheck", {}).get("test", ["", ""])[1] == "spatial-etl"
]


def test_all_roles_are_there() -> None:
    assert set(OURS) == {"api", "worker", "sweep", "migrate", "keys"}
    assert set(SERVICES) == {*OURS, "mongo", "postgis", "redis", "store", "store-init"}


def test_name_and_tag_of_every_image_are_variables() -> None:
    images = re.findall(r"^\s+image: (.*)$", TEXT, flags=re.MULTILINE)
    assert len(images) == 6
    for image in images:
        assert re.fullmatch(r"\$\{[A-Z_]+_IMAGE:-[a-z0-9/-]+\}:\$\{[A-Z_]+_TAG:-[A-Za-z0-9.-]+\}", image), image
        assert ":-latest}" not in image


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_says_how_it_is_or_runs_once(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOTS:
        assert service["restart"] == "no"
        assert "healthcheck" not in service
        for other in SERVICES.values():
            condition = other.get("depends_on", {}).get(name)
            assert condition in (None, {"condition": "service_completed_successfully"})
    else:
        assert service["restart"] == "unless-stopped"
        assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_can_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]  # noqa: S108 # of a container
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    # Ours have their user from the image; the store needs its image's own, without capabilities.
    assert "user" in service or name in {*OURS, "store"}
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), port
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in composed(development())["volumes"]


def test_only_what_has_a_port_can_reach_out() -> None:
    networks = composed(development())["networks"]
    assert networks["backend"]["internal"] is True
    for name, service in SERVICES.items():
        assert set(service["networks"]) == ({"backend", "edge"} if service.get("ports") else {"backend"}), name


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_environment_is_one_of_real_settings(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment: dict[str, str] = OURS[name]["environment"]
    known = {variable for variable, _ in variables(Settings)}
    assert set(environment) == known - IN_THE_IMAGE - ({"SPATIAL_ETL_WEBHOOK__TOKEN"} if name != "api" else set())
    for variable, value in environment.items():
        if value is not None:
            monkeypatch.setenv(variable, value)
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.ledger_url == "mongodb://spatial-etl:development-only-mongo@mongo:27017/spatial_etl"
    assert (settings.objects.backend, settings.objects.create_buckets) == ("s3", False)
    assert settings.engine.name == "postgis"
    assert settings.queue.redis_url is not None
    assert (settings.webhook.token is not None) is (name == "api")


def test_a_setting_of_the_env_file_reaches_every_role() -> None:
    """Compose passes on a variable without a value if its own environment has it, and leaves it out otherwise."""
    for name, service in OURS.items():
        without_value = {variable for variable, value in service["environment"].items() if value is None}
        assert len(without_value) > 50, name
        for group in ("API__TRUSTED_PROXIES", "RETENTION__VERSIONS_KEEP", "LANES__LIMITS", "RUN__MAX_ATTEMPTS"):
            assert f"SPATIAL_ETL_{group}" in without_value, name


def test_the_store_sends_its_events_at_once() -> None:
    """With a queue directory it holds every event back for seconds."""
    assert not [variable for variable in SERVICES["store"]["environment"] if "QUEUE_DIR" in variable]
    assert SERVICES["store"]["volumes"] == ["store:/data"]


@pytest.mark.parametrize(("name", "words"), COMMANDS)
def test_every_command_is_one_of_the_command_line(name: str, words: list[str]) -> None:
    group = typer.main.get_command(app)
    with group.make_context("spatial-etl", list(words)) as context:
        _, command, rest = group.resolve_command(context, list(words))  # type: ignore[attr-defined] # a group's
        with command.make_context(words[0], rest, parent=context) as parsed:
            assert parsed.params or rest
    assert words[0] != "migrate" or parsed.params["wait"] == 60


def test_every_secret_is_required_and_only_the_development_file_has_values() -> None:
    used = {(name, kind) for name, kind, _ in _VARIABLE.findall(TEXT)}
    secrets = {name for name, _ in used if re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY", name)}
    required = {name for name, kind in used if kind == "?"}
    assert secrets == required == set(development())
    assert not {name for name, kind in used if kind == "-"} & secrets
    for name in required:
        with pytest.raises(LookupError, match=rf"^{name}: .* is not set$"):
            composed({**development(), name: ""})


def test_no_secret_is_in_a_command_line() -> None:
    values = set(development().values()) - {"spatial-etl"}
    for service in SERVICES.values():
        words = json.dumps([service.get(key) for key in ("command", "entrypoint", "healthcheck")])
        assert not [value for value in values if value in words]


def test_the_store_tells_the_api_about_manifests() -> None:
    environment = SERVICES["store"]["environment"]
    host, path = re.fullmatch(r"http://(\w+):8000(/.*)", environment["MINIO_NOTIFY_WEBHOOK_ENDPOINT_INTAKE"]).groups()  # type: ignore[union-attr] # the test fails
    assert host in SERVICES
    openapi = json.loads((ROOT / "openapi" / "openapi.json").read_text(encoding="utf-8"))
    assert "post" in openapi["paths"][path]
    token = SERVICES["api"]["environment"]["SPATIAL_ETL_WEBHOOK__TOKEN"]
    assert environment["MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_INTAKE"] == token
    script = (ROOT / "deploy" / "store" / "init.sh").read_text(encoding="utf-8")
    assert "arn:minio:sqs::INTAKE:webhook" in script
    assert "--event put --prefix manifests/ --suffix .json" in script
    assert f"store/{LANDING_BUCKET} store/{LAKE_BUCKET}" in script


def test_the_services_own_user_has_rights_in_its_two_buckets_only() -> None:
    policy = json.loads((ROOT / "deploy" / "store" / "policy.json").read_text(encoding="utf-8"))
    resources = {resource for statement in policy["Statement"] for resource in statement["Resource"]}
    assert resources == {
        f"arn:aws:s3:::{bucket}{rest}" for bucket in (LANDING_BUCKET, LAKE_BUCKET) for rest in ("", "/*")
    }
    assert not [action for statement in policy["Statement"] for action in statement["Action"] if "*" in action]


@pytest.mark.parametrize("script", sorted((ROOT / "deploy").rglob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_plain_shell(script: Path) -> None:
    subprocess.run(["sh", "-n", script], check=True)
    assert script.read_text(encoding="utf-8").startswith("#!/bin/sh\n")


@pytest.mark.parametrize(("attach", "entities", "code"), [(0, "", 0), (1, "spatial-etl-buckets", 0), (1, "", 1)])
def test_the_store_can_be_set_up_again(tmp_path: Path, attach: int, entities: str, code: int) -> None:
    """With an `mc` that writes down what it is asked. A policy that is attached already is refused: that is fine."""
    asked = tmp_path / "asked"
    mc = tmp_path / "mc"
    mc.write_text(f"""#!/bin/sh
echo "$@" >> {asked}
case "$2 $3" in
"user add") cat > {asked}.stdin ;;
"policy attach") exit {attach} ;;
"policy entities") echo "{entities}" ;;
esac
""")
    mc.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "hidden"}
    done = subprocess.run(["sh", ROOT / "deploy" / "store" / "init.sh"], check=False, env=environment)
    assert done.returncode == code
    lines = asked.read_text().splitlines()
    assert lines[0] == "mb --ignore-existing store/landing-zone store/data-lake"
    assert lines[-1].startswith("event add --ignore-existing" if code == 0 else "admin policy entities")
    assert "hidden" not in asked.read_text()
    assert Path(f"{asked}.stdin").read_text() == "key\nhidden\n"


DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_runs_as_nobody_in_particular() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "\nUSER 10001:10001\n" in last
    assert 'ENTRYPOINT ["spatial-etl"]' in last
    assert "gcc" not in last
    assert "build-essential" not in last
    assert DOCKERFILE.count("--require-hashes") == DOCKERFILE.count("pip install") - 1, "all but our own wheel"


def test_the_image_has_what_docker_compose_expects_of_it() -> None:
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert f"ARG VERSION={version[1]}\n" in DOCKERFILE
    assert f"${{APP_TAG:-{version[1]}}}" in TEXT
    assert set(re.findall(r"^ARG (PYTHON_\w+)", DOCKERFILE, re.MULTILINE)) == set(SERVICES["api"]["build"]["args"])


def test_nothing_but_the_program_goes_into_the_image() -> None:
    """The context lets nothing else in, and the image copies nothing else from it."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert ignored[0] == "*"
    assert let_in == {
        "app",
        "migrations",
        "locks/build.txt",
        "locks/runtime.txt",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    }
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, flags=re.MULTILINE)
    assert {source for line in copied for source in line.split()} == let_in
    assert not re.findall(
        r"^(?:ARG|ENV) .*(?:PASSWORD|SECRET|TOKEN|KEY)", dockerfile, flags=re.MULTILINE | re.IGNORECASE
    )
