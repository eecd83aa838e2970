# SPDX-License-Identifier: Apache-2.0
"""The steps of `up`: refuse early, then make images and models, then the machines; a failure undoes them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from provisioner.errors import LabError
from provisioner.lab import (
    builder,
    controller,
    hosts,
    keys,
    layers,
    model,
    plans,
    platforms,
    releases,
    snapshots,
    turns,
)
from provisioner.lab.hosts import HostPlan, SeedFile
from provisioner.lab.image import Recipe
from provisioner.lab.layers import Layer
from provisioner.lab.podman import LABEL, Machine, Podman
from provisioner.lab.releases import Outcome
from provisioner.lab.report import HostReport, Stopwatch, described
from provisioner.lab.snapshots import Snapshot
from provisioner.lab.spec import HUB, HostSpec, LabSpec

# Measured: an engine's environment with a model on each host, and the package cache that all hosts share.
HOST_BYTES = 8 * 1024**3
CACHE_BYTES = 6 * 1024**3
HUB_BYTES = 1024**3
HUB_SERVICE = "provision-hub.service"


@dataclass
class Bringup:
    """What every step of one `up` needs."""

    podman: Podman
    spec: LabSpec
    watch: Stopwatch
    undo: ExitStack
    copies: Mapping[str, str] = field(default_factory=dict)
    existing: dict[str, Machine] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def _ports(self) -> Mapping[str, int]:
        return {HUB: self.spec.hub_port, **self.spec.ports}

    @cached_property
    def _recipes(self) -> dict[str, Recipe | Layer]:
        """Return the recipe of each system's image; this machine's mirror is read once."""
        return {name: platforms.wanted(name) for name in sorted({host.image for host in self.spec.hosts})}

    @cached_property
    def _hub_recipe(self) -> Layer:
        return plans.hub_recipe()

    def check(self) -> None:
        """Refuse what cannot work before anything is made."""
        with self.watch.step("checks"):
            self.observe()
            self._require_disk()

    def observe(self) -> None:
        """Find out what exists, and refuse ports that are in use."""
        self._find_machines()
        self._require_ports()

    def ingredients(self) -> Path:
        """Make images, releases and models available; return the folder of the models."""
        with self.watch.step("images, model and releases"):
            return self._ingredients([*self._recipes.values(), self._hub_recipe])

    def machines(self, models: Path) -> list[HostReport]:
        """Make and start what is missing, and return the machines, the hub first."""
        with self.watch.step("network and keys"):
            subnet = self._network()
            keys.write_known_hosts(self.spec.name, self.spec.ports)
        layout = self._layout(subnet, models)
        return [self._machine(plan) for plan in layout]

    def _find_machines(self) -> None:
        """Find out what exists; a container that never started was left by a killed run and is removed."""
        machines = self.podman.machines(self.spec.name)
        self.podman.remove([machine.container for machine in machines if machine.state == "created"])
        self.existing = {machine.host: machine for machine in machines if machine.state != "created"}

    def _require_ports(self) -> None:
        owners = {other.port: other for other in self.podman.machines() if other.lab != self.spec.name}
        for name, port in self._ports.items():
            known = self.existing.get(name)
            if known and known.port != port:
                raise LabError(
                    f"{name} is published on port {known.port}, but the inventory sets {port}",
                    f"remove the lab first: provision lab down ({self.spec.name})",
                )
            if not (known and known.state == "running"):
                owner = owners.get(port)
                controller.require_free_port(port, f"host {owner.host} of lab {owner.lab}" if owner else "")

    def _require_disk(self) -> None:
        """Report the disk space that is needed, and fail before anything is made if there is not enough."""
        new = [name for name in self._ports if name not in self.existing]
        missing = any(not release.is_cached for release in self.spec.releases)
        if not new and not missing:
            return
        needed = sum(HUB_BYTES if name == HUB else HOST_BYTES for name in new)
        cached = self.podman.has("volume", plans.CACHE_VOLUME)
        needed += 0 if cached else CACHE_BYTES
        needed += builder.NEEDED_BYTES if missing else 0
        store = Path(self.podman.store())
        free = controller.free_bytes(store)
        what = [*new, *(() if cached else ("the shared package cache",)), *(("releases",) if missing else ())]
        says = f"{needed / 1e9:.0f} GB at most for {', '.join(what)}"
        self.watch.say(f"disk: {says}; {free / 1e9:.0f} GB are free in {store}")
        if free < needed:
            raise LabError(
                f"not enough disk space in {store}: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free",
                "free some space, or take hosts out of the inventory",
            )

    def _ingredients(self, recipes: Sequence[Recipe | Layer]) -> Path:
        """Make what is missing side by side, as each waits for the network most of the time."""
        missing = [wanted for wanted in recipes if not self.podman.has("image", wanted.tag)]
        for wanted in missing:
            self.watch.say(f"building image {wanted.name} ({wanted.made_of})")
        for release in self.spec.releases:
            if not release.is_cached:
                self.watch.say(f"{release}: downloading the archive, or building it if that is not possible")
        # Images that wait for the one below them must not delay the rest.
        with ThreadPoolExecutor(len(missing) + 2) as pool:
            builds = [pool.submit(layers.build, self.podman, wanted, self.watch.say) for wanted in missing]
            models = pool.submit(self._models)
            archives = pool.submit(self._releases)
            try:
                # In the order in which they end, so that the first failure stops work that takes minutes.
                everything: list[Future[Any]] = [*builds, archives, models]
                for done in as_completed(everything):
                    done.result()
                return models.result()
            except BaseException:
                # Nothing else ends a build that takes minutes; builds for other labs continue.
                if self.spec.releases and not archives.done():
                    self.podman.remove([builder.CONTAINER])
                raise

    def _models(self) -> Path:
        with turns.alone("models", self.watch.say):
            return model.ensure()

    def _releases(self) -> None:
        """Fetch or build one release after the other: they share what Go has compiled."""
        for release in self.spec.releases:
            with self.watch.step(str(release)), turns.alone("releases", self.watch.say):
                outcome = releases.ensure(self.podman, release)
            self.outcomes.append(outcome)
            self.watch.say(str(outcome))

    def _network(self) -> ipaddress.IPv4Network:
        """Make the lab's network unless it exists and return its addresses."""
        name = plans.network(self.spec.name)
        if not self.podman.has("network", name):
            label = f"--label={LABEL}={self.spec.name}"
            # Names are in /etc/hosts, so podman's resolver would be of no use.
            options = ("--disable-dns", f"--opt=mtu={controller.mtu()}", label)
            self.undo.callback(self.podman.run, "network", "rm", "--force", name, check=False)
            made = self.podman.run("network", "create", *options, name).text.splitlines()[-1]
            if made.endswith(".conflist"):
                plans.repair_network_file(Path(made))
        found = re.search(r'"subnet": "([0-9./]+)"', self.podman.run("network", "inspect", name).text)
        if found is None:
            raise LabError(f"podman's network {name} has no IPv4 addresses", "provision lab down; then up")
        return ipaddress.IPv4Network(found[1])

    def _layout(self, subnet: ipaddress.IPv4Network, models: Path) -> list[HostPlan]:
        """Give every machine its address; those that exist keep theirs."""
        taken = {name: machine.address for name, machine in self.existing.items()}
        free = iter(plans.free_addresses(subnet, taken.values()))
        names = {host.name: taken.get(host.name) or next(free) for host in self.spec.hosts}
        archives = releases.folder()
        archives.mkdir(parents=True, exist_ok=True)
        layout = [plans.hub_plan(self.spec, self._hub_recipe, subnet, models, archives)]
        layout += [
            plans.host_plan(self.spec.name, host, self._made_of(host), names[host.name])
            for host in self.spec.hosts
        ]
        self.names = {plan.name: plan.address for plan in layout}
        return layout

    def _made_of(self, host: HostSpec) -> Recipe | Layer | Snapshot:
        """Return what a host is made of: its system, or what another one has become."""
        if host.name in self.existing or host.name not in self.copies:
            return self._recipes[host.image]
        if self.copies[host.name] == host.name:
            return snapshots.find(self.podman, self.spec.name, host.name)
        source = self.existing.get(self.copies[host.name])
        if source is None:
            return self._recipes[host.image]
        with self.watch.step(f"snapshot of {source.host}"):
            return snapshots.take(self.podman, source)

    def _machine(self, plan: HostPlan) -> HostReport:
        """Create, start or keep one machine and wait until it is up."""
        known = self.existing.get(plan.name)
        if known and plan.name == HUB and known.recipe != plan.recipe:
            self.podman.remove([known.container])
            known = None
        files = plans.hub_files(self.names) if plan.name == HUB else plans.host_files(plan, self.names)
        with self.watch.step(f"host {plan.name}"):
            if known is None:
                self._create(plan, files)
            elif known.state != "running":
                self.podman.run("start", plan.container)
            action = "created" if known is None else "kept" if known.state == "running" else "started"
            ssh = None if plan.name == HUB else plan.publish[0]
            state = hosts.wait_until_up(self.podman, plan.container, ssh)
            if known is None:
                state = hosts.wait_until_settled(self.podman, plan.container)
            if plan.name == HUB:
                self._serve(plan, files, new=known is None)
        note = f" ({plan.origin})" if plan.origin else ""
        self.watch.say(f"{plan.name}: {action}, 127.0.0.1:{plan.publish[0]}, systemd {state}{note}")
        stale = known is not None and known.recipe != plan.recipe
        if stale:
            self.watch.say(f"{plan.name}: its image is older than the recipe; `provision lab down` renews it")
        image = described(plan.image, plan.origin)
        return HostReport(plan.name, plan.publish[0], "running", action, state, image)

    def _create(self, plan: HostPlan, files: Sequence[SeedFile]) -> None:
        # Recorded first: an interrupt may arrive while podman creates it.
        self.undo.callback(self.podman.remove, [plan.container])
        self.podman.run(*hosts.create_argv(plan, controller.ulimits()))
        self.podman.run("cp", "-", f"{plan.container}:/", stdin=hosts.seed(files))
        self.podman.run("start", plan.container)
        if plan.name != HUB:
            hosts.own_home(self.podman, plan.container)

    def _serve(self, plan: HostPlan, files: Sequence[SeedFile], *, new: bool) -> None:
        """Start the hub's service; renew its program when the installed one differs."""
        stale = not new and any(
            self.podman.run("exec", plan.container, "cat", file.path, check=False).stdout != file.content
            for file in files
            if file.path.startswith(plans.HUB_FOLDER)
        )
        if stale:
            self.podman.run("cp", "-", f"{plan.container}:/", stdin=hosts.seed(files))
        if new or stale:
            self.podman.run("exec", plan.container, "systemctl", "daemon-reload")
            self.podman.run("exec", plan.container, "systemctl", "enable", "--quiet", HUB_SERVICE)
            self.podman.run("exec", plan.container, "systemctl", "restart", HUB_SERVICE)
        hosts.wait_for(lambda: hosts.answers(plan.publish[0]), "the hub does not answer")
