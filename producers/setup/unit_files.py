"""The systemd units: as they are shipped, and with the user, the paths and the configuration of this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

UNITS = Path(__file__).resolve().parent / "units"
SHIPPED_EXECUTABLE = "/opt/openfall/bin/openfall"
SHIPPED_CONFIG = "/etc/openfall/openfall.yaml"
SHIPPED_MANIFEST = "/etc/openfall/manifest.yaml"
_ENVIRONMENT_FILE = re.compile(
    r"^# Variables of the configuration\. .*?\nEnvironmentFile=.*?\n", re.MULTILINE | re.DOTALL
)
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPlan:
    """What the units run: `executable` with `config`, as `user`."""

    executable: Path
    config: Path
    user: str
    group: str


def render_units(plan: UnitPlan) -> dict[str, str]:
    """The text of each unit, by its file name. The variables are in the `.env` file, which openfall reads itself."""
    paths = (plan.executable, plan.config)
    in_home = any(path.is_relative_to(home) for path in paths for home in _HOMES)
    texts = {}
    for file in sorted(UNITS.glob("*.service")):
        text = file.read_text(encoding="utf-8")
        for shipped, own in (
            (SHIPPED_EXECUTABLE, _escape(plan.executable)),
            (SHIPPED_CONFIG, _escape(plan.config)),
            (SHIPPED_MANIFEST, _escape(plan.config.with_name("manifest.yaml"))),
            ("User=openfall\nGroup=openfall\n", f"User={plan.user}\nGroup={plan.group}\n"),
        ):
            text = text.replace(shipped, own)
        text = _ENVIRONMENT_FILE.sub(f"# Variables of the configuration: {plan.config.parent}/.env\n", text)
        if in_home:  # the program or its configuration would be invisible
            text = text.replace("ProtectHome=yes\n", "ProtectHome=read-only\n")
        texts[file.name] = text
    return texts


def _escape(path: Path) -> str:
    """A path as a word of a unit: `%` is a specifier there, and a space ends a word."""
    return str(path).replace("%", "%%").replace("\\", "\\\\").replace(" ", "\\x20")
