"""One function over many things, by Ray tasks where there is much to do: results come in the order of the things."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")

MANY = 4096
"""Recordings or samples from which the work is given to Ray tasks."""


def where_many(count: int, connect: Callable[[], None]) -> Callable[[], None] | None:
    """What `in_order` is given to connect by, for so many recordings or samples."""
    return connect if count > MANY else None


def in_order(
    call: Callable[[Thing], Result], things: Iterable[Thing], *, connect: Callable[[], None] | None
) -> Iterator[Result]:
    """What `call` returns of each thing. `connect` starts or joins Ray; without it, and where there is one thing only,
    all is done here.

    No more results are in memory than two for each CPU. A task whose worker dies is done again, so that `call` is to
    give the same whenever it is called. What it raises is raised here.
    """
    waiting = iter(things)
    begin = list(islice(waiting, 2))
    everything = chain(begin, waiting)
    if connect is None or len(begin) < 2:
        yield from map(call, everything)
        return
    connect()
    import ray

    run = ray.remote(num_cpus=1, max_retries=3)(called)
    shared = ray.put(call)  # once, and not with each thing
    window = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    begun: deque[Any] = deque()
    try:
        for thing in everything:
            begun.append(run.remote(shared, thing))
            if len(begun) > window:
                yield ray.get(begun.popleft())
        while begun:
            yield ray.get(begun.popleft())
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


def called(call: Callable[[Thing], Result], thing: Thing) -> Result:
    """What a task does."""
    return call(thing)
