# SPDX-License-Identifier: Apache-2.0
"""Find and rewrite package sources, and rewrite chrony's configuration."""

from __future__ import annotations

import re
from pathlib import Path

PATTERNS = (
    "etc/apt/sources.list",
    "etc/apt/sources.list.d/*.list",
    "etc/apt/sources.list.d/*.sources",
    "etc/yum.repos.d/*.repo",
)
OFF = re.compile(r"\s*(enabled\s*[=:]\s*(0|no|false))\s*", re.IGNORECASE)
CHRONY_MARK = "# Time servers of the inventory"


def source_files(root: Path = Path("/")) -> dict[str, str]:
    """Return every file of package sources with its text."""
    paths = [path for pattern in PATTERNS for path in sorted(root.glob(pattern)) if path.is_file()]
    return {str(path): path.read_text(encoding="utf-8", errors="surrogateescape") for path in paths}


def defining(pattern: re.Pattern[str], root: Path) -> list[Path]:
    """Return the source files in which a line that counts contains a pattern."""
    files = source_files(root).items()
    return [Path(name) for name, text in files if any(map(pattern.search, in_use(text)))]


def in_use(text: str) -> list[str]:
    """Return the lines of a source file that count: no comments, no part that is switched off."""
    parts: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("[") or not line.strip():
            parts.append([])
        if not line.lstrip().startswith(("#", ";")):
            parts[-1].append(line)
    return [line for part in parts if not any(map(OFF.fullmatch, part)) for line in part]


def rewrite_sources(text: str, mirrors: dict[str, str]) -> str:
    """Replace URL prefixes; a repository whose commented base URL has a mirror leaves its mirror list.

    A list of mirrors would win over the base URL, so it is commented out where the base URL takes over.
    """
    sections = re.split(r"(?m)^(?=\[)", text)
    return "".join(_rewrite_section(section, mirrors) for section in sections)


def _rewrite_section(section: str, mirrors: dict[str, str]) -> str:
    lines, taken_over = [], False
    for line in section.splitlines(keepends=True):
        commented = re.match(r"#\s*(baseurl\s*=.*)", line, re.DOTALL)
        candidate = commented.group(1) if commented else line
        replaced = _replace(candidate, mirrors)
        is_comment = line.lstrip().startswith("#")
        if replaced != candidate and (commented or not is_comment):
            taken_over = taken_over or candidate.startswith("baseurl")
            line = replaced  # noqa: PLW2901 - the line is what is being rewritten
        lines.append(line)
    if taken_over:
        lines = [re.sub(r"^(mirrorlist|metalink)(\s*=)", r"#\1\2", line) for line in lines]
    return "".join(lines)


def _replace(line: str, mirrors: dict[str, str]) -> str:
    # The longest prefix wins, and each place in the line is replaced once.
    prefixes = sorted(mirrors, key=len, reverse=True)
    if not prefixes:
        return line
    pattern = "|".join(re.escape(prefix.rstrip("/")) for prefix in prefixes)
    targets = {prefix.rstrip("/"): mirrors[prefix].rstrip("/") for prefix in prefixes}
    return re.sub(f"(?:{pattern})(?=[/\\s]|$)", lambda found: targets[found.group(0)], line)


def rewrite_chrony(text: str, servers: list[str]) -> str:
    """Replace the servers and pools of chrony's configuration."""
    own = f"{CHRONY_MARK}\n" + "".join(f"server {server} iburst\n" for server in servers)
    head = text.partition(CHRONY_MARK)[0]
    kept = re.sub(r"(?m)^(pool|server|sourcedir)\b", r"#\1", head)
    return kept if kept.endswith(own) else kept.rstrip("\n") + "\n" + own
