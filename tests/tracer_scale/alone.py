"""A communicator of one rank, and one whose ranks are threads, as those of mpi4py."""

import copy
import queue
import threading
from collections import defaultdict


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
        self.here = threading.local()
        self.sent = defaultdict(queue.Queue)

    def of(self, rank):
        return Rank(self, rank)

    def run(self, function):
        """What `function(comm)` returns or raises in each rank."""
        found = [None] * self.size

        def work(rank):
            try:
                self.here.comm = Rank(self, rank)
                found[rank] = function(self.here.comm)
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

    def bcast(self, value, root=0):
        return self.allgather(value)[root]

    def alltoall(self, values):
        return [each[self.rank] for each in self.allgather(values)]

    def Bcast(self, array, root=0):
        if self.rank == root:
            for peer in range(self.ranks.size):
                self.Send(array, peer) if peer != root else None
        else:
            self.Recv(array, root)

    def Send(self, array, dest):
        self.ranks.sent[self.rank, dest].put(array.copy())

    def Recv(self, array, source):
        array[...] = self.ranks.sent[source, self.rank].get(timeout=30)

    def Sendrecv(self, array, dest, recvbuf, source):
        self.Send(array, dest)
        self.Recv(recvbuf, source)
