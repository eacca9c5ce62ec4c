"""A run on a Ray cluster of two nodes, of which the one with all workers and pictures is killed.

Run as a program by `test_ray`, since the cluster is this process's own. Prints what came of it as
JSON.
"""

from __future__ import annotations

import json
import threading
import time

from streamer.executors import ray as on_ray
from streamer.executors.bare import run_bare
from streamer.pipeline import Output, Pipeline, Step
from streamer.report import Tally
from streamer.testing import ListSink, describe
from tests.streamer.example_parts import Count, Mark, PacedSource, Say
from tests.streamer.test_executors import of_stream, two_streams


def main(frames: int = 100, at: int = 80) -> None:
    from ray.cluster_utils import Cluster  # behind on_ray, which says where Ray listens

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": 100 << 20},
    )
    doomed = cluster.add_node(num_cpus=4, object_store_memory=100 << 20)
    on_ray.connect(cluster.address)
    records = two_streams(frames)

    def graph(sink: ListSink, pace_s: float) -> Pipeline:
        return Pipeline(
            make_source=lambda: PacedSource(records, pace_s),
            steps=(
                Step(name="track", operator=Mark, make=Mark),
                Step(name="caption", operator=Say, make=Say, inputs=("track",), workers=2),
                Step(name="count", operator=Count, make=Count, inputs=("caption", "track")),
            ),
            outputs=(
                Output(name="list", sink=ListSink, make=lambda: sink, inputs=("track", "count")),
            ),
        )

    tally, got, wanted = Tally(), ListSink(), ListSink()

    def kill() -> None:
        while tally.frames < at:
            time.sleep(0.005)
        cluster.remove_node(doomed, allow_graceful=False)

    threading.Thread(target=kill, daemon=True).start()
    report = on_ray.run_ray(graph(got, 0.02), tally=tally, snapshot_every=8)
    run_bare(graph(wanted, 0.0))
    ours, theirs = ([describe(r) for r in sink.records] for sink in (got, wanted))
    same = all(of_stream(ours, s) == of_stream(theirs, s) for s in ("a", "b"))
    print(json.dumps({"same": same, "records": len(ours), "restarts": report.restarts}))


if __name__ == "__main__":
    main()
