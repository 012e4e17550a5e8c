"""What keeps a Docker lab's packets inside the lab: rules on the host, in place before the first container starts.

The host forwards. A packet from one of the lab's bridges may go to the same bridge only; everything from and to any
other interface is dropped, in both families: in the chain that Docker keeps for its users (DOCKER-USER) for IPv4, and
in FORWARD for IPv6, where older engines have no such chain. Rules are matched and removed by the bridges' names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

import docker
import docker.errors

_SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
# Program and chain, by address family.
_CHAINS = (("iptables", "DOCKER-USER"), ("ip6tables", "FORWARD"))


class Firewall:
    """The rules of the lab whose bridges on the host are called `prefix` and a number."""

    def __init__(self, client: docker.DockerClient, image: str, prefix: str) -> None:
        self._client = client
        self._image = image
        self._rules = (("-i", f"{prefix}+", "!", "-o", f"{prefix}+"), ("-o", f"{prefix}+", "!", "-i", f"{prefix}+"))

    def raise_(self) -> None:
        """Put the rules first in their chains. Raises OSError with the program's own words."""
        for program, chain in _CHAINS:
            for rule in self._rules:
                self._run([program, "--wait", "-I", chain, *rule, "-j", "DROP"])

    def lower(self) -> None:
        """Remove the rules, where they are there."""
        for program, chain in _CHAINS:
            for rule in self._rules:
                with contextlib.suppress(OSError, docker.errors.DockerException):
                    while True:  # until there is none: a killed lab's may stand beside
                        self._run([program, "--wait", "-D", chain, *rule, "-j", "DROP"])

    def _run(self, command: list[str]) -> None:
        """As root by the host's own program; else in a container on the host's network, which may do just this."""
        if os.geteuid() == 0 and shutil.which(command[0], path=_SEARCH_PATH):
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env=os.environ | {"PATH": _SEARCH_PATH}
            )
            if done.returncode:
                raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
            return
        try:
            self._client.containers.run(
                self._image,
                command,
                network_mode="host",
                cap_drop=["ALL"],
                cap_add=["NET_ADMIN", "NET_RAW"],
                remove=True,
            )
        except docker.errors.ContainerError as error:
            raise OSError(f"{' '.join(command)}: {error}") from error
