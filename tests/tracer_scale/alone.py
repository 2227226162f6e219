"""A communicator of one rank, and one whose ranks are threads, as those of mpi4py."""

import copy
import threading


class Alone:
    """A communicator of one rank, as mpi4py's."""

    def Get_rank(self):
        return 0

    def Get_size(self):
        return 1

    def bcast(self, value, root=0):
        return copy.deepcopy(value)

    def allgather(self, value):
        return [copy.deepcopy(value)]

    def alltoall(self, values):
        return copy.deepcopy(values)


class Threads:
    """Ranks that are threads, each of which has a `Rank` of it."""

    def __init__(self, size):
        self.size, self.values = size, [None] * size
        self.barrier = threading.Barrier(size, timeout=30)

    def run(self, function):
        """What `function(comm)` returns or raises in each rank."""
        found = [None] * self.size

        def work(rank):
            try:
                found[rank] = function(Rank(self, rank))
            except Exception as error:
                found[rank] = error

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found


class Rank:
    """A rank's side."""

    def __init__(self, ranks, rank):
        self.ranks, self.rank = ranks, rank

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return self.ranks.size

    def allgather(self, value):
        self.ranks.barrier.wait()
        self.ranks.values[self.rank] = value
        self.ranks.barrier.wait()
        return copy.deepcopy(self.ranks.values)
