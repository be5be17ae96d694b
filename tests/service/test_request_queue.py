from threading import Event

import pytest
from medvol_r1.service.failures import ServiceError
from medvol_r1.service.request_queue import RequestQueue
from service_runs import wait_for


@pytest.fixture
def queue():
    queue = RequestQueue(most_waiting=4, most_remembered=2)
    yield queue
    queue.close()


@pytest.fixture
def held():
    """Work that runs until it is let go, or cancelled."""
    go = Event()

    def work(progress):
        while not go.wait(0.005):
            progress.check()
        return "held"

    yield go, work
    go.set()


def test_requests_are_computed_in_their_order(queue, held):
    go, work = held
    first = queue.submit("a", work)
    done = []
    others = [queue.submit("a", lambda progress, number=number: done.append(number) or "mask") for number in range(3)]
    assert [queue.ahead(request) for request in others] == [1, 2, 3]
    go.set()
    assert [wait_for(request).state for request in (first, *others)] == ["done"] * 4
    assert done == [0, 1, 2] and first.mask == "held" and queue.ahead(first) == 0


def test_a_failure_has_a_reason_and_the_next_goes_on(queue):
    def fails(progress):
        raise ServiceError("unknown_study", "gone")

    def breaks(progress):
        raise ZeroDivisionError("by zero")

    requests = [queue.submit("a", work) for work in (fails, breaks, lambda progress: "mask")]
    assert [wait_for(request).state for request in requests] == ["failed", "failed", "done"]
    assert requests[0].error == {"reason": "unknown_study", "message": "gone"}
    assert requests[1].error == {"reason": "ZeroDivisionError", "message": "by zero"}


def test_what_runs_is_cancelled_where_it_looks(queue, held):
    request = queue.submit("a", held[1])
    while request.state == "queued":
        pass
    queue.cancel(request)
    assert wait_for(request).state == "cancelled"


def test_what_waits_is_cancelled_and_never_begins(queue, held):
    go, work = held
    queue.submit("a", work)
    begun = []
    waits = queue.submit("a", begun.append)
    queue.cancel(waits)
    assert waits.state == "cancelled"
    go.set()
    assert wait_for(queue.submit("a", lambda progress: "last")).state == "done"
    assert begun == []


def test_what_is_over_stays_as_it_is(queue):
    request = wait_for(queue.submit("a", lambda progress: "mask"))
    queue.cancel(request)
    assert request.state == "done"


def test_too_many_are_refused(queue, held):
    go, work = held
    requests = [queue.submit("a", work) for _ in range(4)]
    with pytest.raises(ServiceError, match="4 requests wait") as caught:
        queue.submit("b", work)
    assert caught.value.reason == "too_many_requests"
    go.set()
    for request in requests:
        wait_for(request)
    queue.submit("b", work)


def test_old_ones_are_forgotten(queue):
    requests = [wait_for(queue.submit("a", lambda progress: "mask")) for _ in range(5)]
    with pytest.raises(ServiceError) as caught:
        queue.get("a", requests[0].id)
    assert caught.value.reason == "unknown_request"
    assert queue.get("a", requests[-1].id) is requests[-1]


def test_a_request_is_its_owners(queue):
    request = queue.submit("a", lambda progress: "mask")
    assert queue.get("a", request.id) is request
    for owner, number in (("b", request.id), ("a", "another")):
        with pytest.raises(ServiceError) as caught:
            queue.get(owner, number)
        assert caught.value.reason == "unknown_request"


def test_closing_stops_all(held):
    queue = RequestQueue()
    requests = [queue.submit("a", held[1]) for _ in range(3)]
    queue.close()
    assert [request.state for request in requests] == ["cancelled"] * 3
