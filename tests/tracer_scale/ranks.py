"""A program that mpirun starts: folds on all ranks, and writes what the last of them has."""

import sys

import folds
import imported
import numpy as np
from mpi4py import MPI

import tracer_layers as nn
import tracer_scale as scale


def main(what, out):
    comm = MPI.COMM_WORLD
    model, names = folds.convnet(), (*folds.VALUES, *folds.MATRICES)
    shards = folds.even(7, "convnet", folds.Slow)
    options = {"engine": comm}
    if what == "raises":
        shards = folds.even(6, "convnet", folds.Deadly, folder=out, shard=2, times=99, raises=True)
        options["retries"] = 1
    if what == "dies":
        shards = folds.even(6, "convnet", folds.Deadly, folder=out, shard=4)
        options["checkpoint"] = f"{out}.fold"
    if what == "resumes":
        shards = folds.even(6, "convnet", folds.Deadly, folder=out[:-4], shard=4)
        options["checkpoint"] = f"{out[:-4]}.fold"
    if what.endswith((".pt2", ".onnx")):
        model, names = imported.opened(what), imported.NAMES
        shards = imported.shards()
    if what == "differs" and comm.Get_rank() == 1:
        model[0].bias.data = model[0].bias.data + 1
    try:
        found = scale.fold(model, nn.cross_entropy, shards, names, **options)
    except scale.errors.TracerError as error:
        print(f"rank {comm.Get_rank()}: {error}", flush=True)
        return
    arrays = folds.arrays(found)
    if comm.Get_rank() == comm.Get_size() - 1:
        np.savez(out, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
