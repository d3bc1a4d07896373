"""Predicts one volume by the workers of a Dask cluster: python dask_shards.py SCHEDULER RUN INPUT OUTPUT [SHARDS]

The output is Zarr or N5 on a file system that all workers see. A shard that fails is tried again and goes on with what is
missing.
"""

import subprocess
import sys

from dask.distributed import Client, as_completed


def predict(model, source, target, shard):
    command = ["znn", "-q", "infer", "--model", model, "--input", source, "--output", target, "--shard", shard]
    subprocess.run(command, check=True)
    return shard


if __name__ == "__main__":
    scheduler, model, source, target = sys.argv[1:5]
    client = Client(scheduler)
    count = int(sys.argv[5]) if len(sys.argv) > 5 else 4 * len(client.nthreads())
    shards = [f"{i}/{count}" for i in range(1, count + 1)]
    jobs = [client.submit(predict, model, source, target, shard, retries=3, pure=False) for shard in shards]
    for job in as_completed(jobs):
        print("done", job.result())
