"""Runs on a Ray cluster of two nodes, of which the one with all workers and pictures is killed.

Run as a program by `test_ray`, since the cluster is this process's own. Prints what came of each
run as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from pathlib import Path

from streamer.executors import ray as on_ray
from streamer.executors.local import run_local
from streamer.report import Tally
from tests.streamer.ray_film import FRAMES, batch, written


def main(film: Path, folder: Path, runs: int) -> None:
    from ray.cluster_utils import Cluster  # behind on_ray, which says where Ray listens

    run_local(batch(film, folder / "local"))
    wanted = written(folder / "local")
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": 100 << 20},
    )
    doomed = cluster.add_node(num_cpus=4, object_store_memory=100 << 20)
    on_ray.connect(cluster.address)
    chance = random.Random(7)
    for number in range(runs):
        tally, at, over = Tally(), chance.randrange(1, FRAMES - 50), threading.Event()

        def kill(
            tally: Tally = tally, at: int = at, over: threading.Event = over, node: object = doomed
        ) -> None:
            while tally.frames < at and not over.wait(0.005):
                pass
            cluster.remove_node(node, allow_graceful=False)

        killer = threading.Thread(target=kill)
        killer.start()
        out = folder / f"nodes-{number}"
        begun_s = time.monotonic()
        try:
            report = on_ray.run_ray(batch(film, out), tally=tally)
        finally:
            over.set()
            killer.join()
        same = written(out) == wanted
        seconds = round(time.monotonic() - begun_s, 1)
        told = {"same": same, "killed_at": at, "restarts": report.restarts, "seconds": seconds}
        print(json.dumps(told), flush=True)
        if number + 1 < runs:
            doomed = cluster.add_node(num_cpus=4, object_store_memory=100 << 20)
            cluster.wait_for_nodes()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
