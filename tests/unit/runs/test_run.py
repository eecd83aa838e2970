# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import stat
from pathlib import Path

from provisioner.runs import run
from provisioner.runs.run import Request, Secrets


def test_the_command_is_what_an_ansible_user_would_type() -> None:
    request = Request(
        playbook="site",
        inventory="lab.ini",
        phases=("models", "serve"),
        limit="gpu1",
        extra_vars=("a=1",),
        check=True,
        diff=True,
        forks=5,
        verbosity=3,
        vault_password_files=("secret",),
        variables=(("provision_consent", False),),
    )
    text = " ".join(request.argv())
    assert text.endswith(
        'site.yml -i lab.ini --limit gpu1 -e a=1 -e {"provision_consent": false}'
        " --check --diff --forks 5 --vault-password-file secret -vvv"
    )
    assert request.tags() == {"ANSIBLE_RUN_TAGS": "models,serve"}


def test_passwords_travel_in_private_files_that_go_away() -> None:
    secrets = Secrets("canary-login", "canary-become", "canary-vault")
    with run.password_files(secrets) as argv:
        assert "canary" not in " ".join(argv)
        files = [Path(word) for word in argv if not word.startswith("--")]
        assert [file.read_text() for file in files] == ["canary-login", "canary-become", "canary-vault"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert not any(file.exists() for file in files)
    assert "canary" not in repr(Request("site", "lab.ini").argv())
