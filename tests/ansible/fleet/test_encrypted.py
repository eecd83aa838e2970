# SPDX-License-Identifier: Apache-2.0
"""Look into files that are encrypted by the real vault."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.errors import InventoryError
from provisioner.fleet import inventory, spec


@pytest.mark.parametrize(
    ("line", "variable"),
    [
        ("serve_api_key_file={}", "serve_api_key_file"),
        ("model_store_huggingface_token_file={}", "model_store_huggingface_token_file"),
    ],
)
def test_an_encrypted_file_needs_the_password_of_the_vault(tmp_path: Path, line: str, variable: str) -> None:
    secret, source = tmp_path / "secret", tmp_path / "hosts.ini"
    for name, password in (("right", "one"), ("wrong", "two")):
        (tmp_path / name).write_text(password)
    secret.write_text("two words\n" if "key" in line else "token\n")
    vault = [sys.executable, "-m", "ansible", "vault", "encrypt", "--vault-password-file"]
    subprocess.run([*vault, str(tmp_path / "right"), str(secret)], check=True, capture_output=True)
    source.write_text(f"h1 serve_engine=vllm serve_model=a/b {line.format(secret)}\n")

    def said(*arguments: str) -> list[str]:
        unlock = functools.partial(inventory.unlock, vault_arguments=arguments)
        try:
            spec.load(inventory.load(str(source)), unlock=unlock)
        except InventoryError as error:
            return [f"{one.variable}: {one.reason}; {one.hint}" for one in error.problems]
        return []

    assert said()[0].startswith(f"{variable}: is encrypted, and no password of the vault is given; give the")
    wrong = said("--vault-password-file", str(tmp_path / "wrong"))
    assert wrong[0].startswith(f"{variable}: is encrypted, and the password of the vault does not fit")
    right = said("--vault-password-file", str(tmp_path / "right"))
    # What is in it is checked as everything else.
    expected = ["serve_api_key_file: contains a space, a line break or a non-ASCII character"]
    assert [one.partition(";")[0] for one in right] == (expected if "key" in line else [])
