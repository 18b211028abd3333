"""A training of two nodes that loses one of them, against one that nothing happens to: ``python -m
benchmarks.nodes FOLDER``.

Each node is a network namespace of this machine with ``torchrun``'s agent and one rank in it; a
pair of virtual cables is all that joins them, so it takes root on Linux and the command ``ip``.
They share the disk, as the nodes of a cluster do. The recurrent family learns the problem ``pose``
from random starts; while it does, the worker of the second node is killed, and later the whole
second node, cable and all. Each time the agents start anew from the last checkpoint: with both
nodes, then with one alone. Prints what each loss cost, and how far the weights are from those of a
training by one process without any.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from safetensors.torch import load_file

from learned_descent import DescentError
from learned_descent.files import load_state
from learned_descent.signals import sigterm_ends

from . import command

_TRAIN = (
    "train pose --family mdm --problem.num_train 512 --bptt.iterations {iterations} "
    "--bptt.validate_every {every} --bptt.accelerator cpu --out {out}"
)
_NAMES = ("descent-a", "descent-b")
_ADDRESS = "10.213.77.{}"
_PORT = 29517
_OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Else the ranks of an attempt may find the addresses of the last one's."""

_DEADLINE = 120.0
"""The seconds after which a training that writes no checkpoint has failed."""


def run(*words: str) -> None:
    """A command of the system, which has to work."""
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise DescentError(f"{' '.join(words)}: {done.stderr.strip()}: it takes root on Linux")


@contextmanager
def network() -> Iterator[None]:
    """Two network namespaces with a cable between them."""
    with ExitStack() as stack:
        for name in _NAMES:
            run("ip", "netns", "add", name)
            stack.callback(run, "ip", "netns", "del", name)
        one, other = _NAMES
        run(*f"ip link add {one} netns {one} type veth peer name {other} netns {other}".split())
        for number, name in enumerate(_NAMES, 1):
            within = ["ip", "-n", name]
            run(*within, "addr", "add", f"{_ADDRESS.format(number)}/24", "dev", name)
            run(*within, "link", "set", name, "up")
            run(*within, "link", "set", "lo", "up")
        yield


def agent(number: int, words: str, log: Path) -> subprocess.Popen[bytes]:
    """The agent of a node, which starts its rank and starts it again."""
    name = _NAMES[number]
    options = (
        f"--nnodes 1:2 --nproc-per-node 1 --max-restarts 3 --rdzv-backend c10d --rdzv-id descent "
        f"--rdzv-endpoint {_ADDRESS.format(1)}:{_PORT} --local-addr {_ADDRESS.format(number + 1)} "
        f"--rdzv-conf is_host={int(number == 0)},last_call_timeout=5,keep_alive_interval=2 "
        "-m learned_descent"
    )
    within = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run"]
    with log.open("ab") as file:
        return subprocess.Popen(
            [*within, *options.split(), *words.split(), "--resume"],
            env=os.environ | {"GLOO_SOCKET_IFNAME": name, "OMP_NUM_THREADS": "1"} | _OWN_STORE,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def reached(checkpoint: Path) -> int:
    """The iteration of a checkpoint; 0 where there is none yet."""
    return int(load_state(checkpoint)["iteration"]) if checkpoint.exists() else 0


def wait_beyond(checkpoint: Path, iteration: int) -> int:
    """Waits for a checkpoint of a later iteration, and returns that."""
    end = time.monotonic() + _DEADLINE
    while (found := reached(checkpoint)) <= iteration:
        if time.monotonic() > end:
            raise DescentError(f"{checkpoint}: nothing after iteration {found}: see the logs")
        time.sleep(0.2)
    return found


def lose(what: str, victims: list[int], checkpoint: Path, every: int) -> None:
    """Kills processes between two checkpoints, and says what that cost."""
    before = wait_beyond(checkpoint, reached(checkpoint))
    pace = time.monotonic()
    before = wait_beyond(checkpoint, before)
    pace = time.monotonic() - pace
    time.sleep(pace / 2)
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    start = time.monotonic()
    wait_beyond(checkpoint, before)
    waited = time.monotonic() - start
    print(
        f"{what} killed after iteration {before}: {every} iterations take {pace:.1f} s, the next "
        f"checkpoint came after {waited:.1f} s: {waited - pace / 2:.1f} s lost, of which "
        f"{pace / 2:.1f} s were work",
        flush=True,
    )


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    return [
        int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    ]


def broken(out: Path, words: str, every: int) -> None:
    """The training that loses a worker and a node."""
    checkpoint = out / "checkpoint.safetensors"
    with network():
        agents = [agent(number, words, out.parent / f"node-{number}.log") for number in range(2)]
        try:
            wait_beyond(checkpoint, 0)
            lose("the worker of a node", children(agents[1].pid), checkpoint, every)
            wait_beyond(checkpoint, reached(checkpoint) + every)
            node = [agents[1].pid, *children(agents[1].pid)]
            lose("a whole node", node, checkpoint, every)
            code = agents[0].wait(_DEADLINE)
        finally:
            for part in agents:
                for process in (*children_of(part), part.pid):
                    end(process)
                part.wait()
    print(f"exit code of the node that is left: {code}")


def children_of(part: subprocess.Popen[bytes]) -> list[int]:
    """The processes of an agent that still runs."""
    return children(part.pid) if part.poll() is None else []


def end(process: int) -> None:
    """Kills a process, if it is there."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def main() -> int:
    """Trains, kills, compares; 1 where the weights differ by more than rounding."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--every", type=int, default=20, help="iterations between checkpoints")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    settings = {"iterations": arguments.iterations, "every": arguments.every}
    whole, parts = arguments.folder / "whole", arguments.folder / "parts"
    with sigterm_ends():
        broken(parts, _TRAIN.format(out=parts, **settings), arguments.every)
    one = _TRAIN.format(out=whole, **settings).split()
    subprocess.run([sys.executable, "-m", "learned_descent", *one], check=True, capture_output=True)
    found, wanted = (load_file(out / "model.safetensors") for out in (parts, whole))
    apart = max((found[name] - wanted[name]).abs().max().item() for name in wanted)
    size = max(value.abs().max().item() for value in wanted.values())
    print(f"the weights differ by {apart:.2g} at most; the largest is {size:.2g}")
    return int(apart > 1e-2 * size)


if __name__ == "__main__":
    command(main)
