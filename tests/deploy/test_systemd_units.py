"""The systemd units: checked by systemd's own tools where they are installed, and by their structure everywhere."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openfall.config import Settings
from openfall.producers.gateway.serve import GRACE_SECONDS
from openfall.producers.setup.unit_files import UNITS, UnitPlan, render_units
from openfall.workers.service_manager import STOP_RESERVE_SECONDS

NAMES = ("openfall-degrade.service", "openfall-serve.service", "openfall-sidecar.service", "openfall-work@.service")
MAX_EXPOSURE = 25
"""Tenths of the 10 points that `systemd-analyze security` gives to a service without any protection."""

systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def sections(name: str) -> configparser.ConfigParser:
    """A unit whose keys may occur twice: the last one is read."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((UNITS / name).read_text("utf-8"))
    return parser


def machine(tmp_path: Path) -> UnitPlan:
    executable = Path(sys.executable).with_name("openfall")
    assert executable.is_file()
    return UnitPlan(executable=executable, config=tmp_path / "a b%" / "openfall.yaml", user="root", group="root")


def test_the_units_of_the_deployment_are_those_that_init_writes() -> None:
    folder = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
    assert folder.resolve() == UNITS
    assert tuple(sorted(file.name for file in UNITS.glob("*.service"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_waits_until_its_process_is_ready_and_kills_one_that_does_not_turn(name: str) -> None:
    service = sections(name)["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) >= 60
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == "2"
    assert sections(name)["Unit"]["StartLimitIntervalSec"] == "0", (
        "an outage of Redis for hours must not end it for good"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_stops_its_main_process_first_and_gives_it_longer_than_its_own_grace(name: str) -> None:
    service = sections(name)["Service"]
    grace = Settings(source=UNITS, data_dir=UNITS).workers.shutdown_grace
    assert service["KillMode"] == "mixed"
    if name == "openfall-serve.service":
        grace = GRACE_SECONDS
    assert int(service["TimeoutStopSec"]) >= grace + STOP_RESERVE_SECONDS


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_keeps_its_data_in_a_private_directory_and_needs_no_key_in_its_own_text(name: str) -> None:
    service = sections(name)["Service"]
    assert (service["StateDirectory"], service["StateDirectoryMode"], service["UMask"]) == ("openfall", "0700", "0077")
    assert service["EnvironmentFile"].startswith("-/etc/openfall/")


def test_the_units_of_a_machine_have_its_program_its_user_and_its_files(tmp_path: Path) -> None:
    plan = UnitPlan(
        executable=Path("/home/me/venv/bin/openfall"),
        config=Path("/home/me/fleet/openfall.yaml"),
        user="me",
        group="us",
    )
    texts = render_units(plan)
    assert tuple(sorted(texts)) == NAMES
    for text in texts.values():
        assert "/opt/openfall" not in text
        assert "/etc/openfall" not in text
        assert "User=me\nGroup=us\n" in text
        assert "EnvironmentFile" not in text
        assert "ProtectHome=read-only" in text
    assert "ExecStart=/home/me/venv/bin/openfall work %i\n" in texts["openfall-work@.service"]
    elsewhere = render_units(machine(tmp_path))["openfall-work@.service"]
    assert "a\\x20b%%/openfall.yaml" in elsewhere


@systemd
def test_systemd_takes_every_key_of_the_units_of_a_machine(tmp_path: Path) -> None:
    plan = machine(tmp_path)
    for name, text in render_units(plan).items():
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / name.replace("@", "@gpu")) for name in NAMES]
    (tmp_path / "openfall-work@gpu.service").write_bytes((tmp_path / "openfall-work@.service").read_bytes())
    command = ["systemd-analyze", "verify", "--man=no", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    own = [line for line in (done.stdout + done.stderr).splitlines() if "openfall" in line]
    assert own == [], done.stderr
    assert done.returncode == 0, done.stderr


@systemd
def test_systemd_measures_little_exposure_of_every_unit(tmp_path: Path) -> None:
    files = [str(UNITS / name) for name in NAMES]
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", "--no-pager", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
