"""The Dramatiq broker: Redis, with a wake-up call in place of short polling, and the registry of live workers."""

import logging
import os
import socket
import threading
import time
from typing import Any, Final

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import dq_name
from dramatiq.errors import ConnectionClosed
from dramatiq.message import Message
from redis.exceptions import RedisError

from .common import clock
from .common.messages import MARK, connect
from .common.workers import BEAT_S, WorkerInfo, beat, leave

log = logging.getLogger(__name__)

HEARTBEAT_MS: Final = 10_000
"""A worker silent for so long is dead; what it held goes back to its queue."""
DEAD_MS: Final = 300_000
"""How long a message that was dropped is kept: nobody reads it, the next tick sends another."""
WAKE: Final = "wake"
LISTEN_S: Final = 5.0


class Broker(RedisBroker):
    """Redis broker whose consumers sleep until a message is published for them.

    Polling fast enough to be quick (20 ms) burns a fifth of a core at rest. Here an enqueue publishes the queue's
    name, a listener thread wakes that queue's consumer, and the poll, once a second, is only the safety net.
    """

    def __init__(self, *, url: str, middleware: list[dramatiq.Middleware] | None = None) -> None:
        super().__init__(
            client=connect(url),
            middleware=middleware,
            namespace="anneal",
            # Maintenance is what gives a dead worker's messages back: at every command, as it costs microseconds.
            maintenance_chance=1_000_000,
            heartbeat_timeout=HEARTBEAT_MS,
            dead_message_ttl=DEAD_MS,
        )
        self._url = url
        self._bells: dict[str, threading.Event] = {}
        self._listener: threading.Thread | None = None
        self._closed = threading.Event()
        self._lock = threading.Lock()

    @property
    def _channel(self) -> str:
        return f"{self.namespace}:{WAKE}"

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        message = super().enqueue(message, delay=delay)
        self.client.publish(self._channel, dq_name(message.queue_name) if delay is not None else message.queue_name)
        return message

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 1000) -> "Consumer":
        with self._lock:
            bell = self._bells.setdefault(queue_name, threading.Event())
            if self._listener is None:
                self._listener = threading.Thread(target=self._listen, name="wake", daemon=True)
                self._listener.start()
        return Consumer(self, queue_name, prefetch, timeout, bell)

    def wake_all(self) -> None:
        for bell in list(self._bells.values()):
            bell.set()

    def close(self) -> None:
        self._closed.set()
        super().close()
        self.client.connection_pool.disconnect()

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                with connect(self._url) as client, client.pubsub() as pubsub:
                    pubsub.subscribe(self._channel)
                    self.wake_all()  # what was published while nobody listened
                    while not self._closed.is_set():
                        heard = pubsub.get_message(timeout=LISTEN_S)
                        if heard and heard["type"] == "message":
                            bell = self._bells.get(heard["data"].decode())
                            if bell:
                                bell.set()
            except (RedisError, OSError):
                self._closed.wait(1)


class Consumer(_RedisConsumer):
    """Fetches what there is; when there is nothing, sleeps until its bell rings or the timeout passes."""

    def __init__(self, broker: Broker, queue_name: str, prefetch: int, timeout: int, bell: threading.Event) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)
        self._bell = bell

    def __next__(self) -> dramatiq.MessageProxy | None:
        try:
            if not self.message_cache:
                self._bell.clear()  # before the fetch: a message that comes after it rings again
                room = self.prefetch - self.outstanding_message_count
                if room > 0:
                    self.message_cache = [data for data in self.broker.do_fetch(self.queue_name, room) if data]
            if not self.message_cache:
                self._bell.wait(self.timeout / 1000)
                return None
            message: Message[Any] = Message.decode(self.message_cache.pop(0))
        except redis.ConnectionError as error:
            raise ConnectionClosed(error) from None
        self.queued_message_ids.add(message.message_id)
        return dramatiq.MessageProxy(message)

    def ack(self, message: dramatiq.MessageProxy) -> None:
        super().ack(message)
        self._bell.set()  # there is room for one more

    def nack(self, message: dramatiq.MessageProxy) -> None:
        super().nack(message)
        self._bell.set()


class Marks(dramatiq.Middleware):
    """Takes away what says that a message waits, once a worker begins with it. Stands behind `AgeLimit`: the mark of
    one that was dropped has expired, and what is there belongs to the next."""

    def before_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        mark = message.options.get(MARK)
        if mark and isinstance(broker, Broker):
            try:
                broker.client.delete(mark)
            except RedisError:
                pass  # the key expires by itself


class WorkerRegistry(dramatiq.Middleware):
    """Tells Redis every few seconds that this process's workers live, and how many of their threads are busy."""

    def __init__(self) -> None:
        self._workers: list[dramatiq.Worker] = []
        self._busy: dict[str, set[str]] = {}
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        with self._lock:
            self._workers.append(worker)
            self._changed.set()  # whoever waits for this worker shall not wait for a beat too
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="registry", daemon=True)
                self._thread.start()

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        if isinstance(broker, Broker):
            broker.wake_all()
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)
        self._changed.set()
        try:
            with connect() as client:
                leave(client, _name(worker))
        except RedisError:
            pass  # the key expires by itself

    def before_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        with self._lock:
            self._busy.setdefault(message.queue_name, set()).add(message.message_id)

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: dramatiq.MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        with self._lock:
            # One that was skipped for its age was never counted.
            self._busy.get(message.queue_name, set()).discard(message.message_id)

    def after_skip_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        self.after_process_message(broker, message)

    def _run(self) -> None:
        client = connect()
        while True:
            self._changed.clear()
            with self._lock:
                infos = [self._info(worker) for worker in self._workers]
                if not infos:
                    self._thread = None
                    return
            clock.look()
            try:
                for info in infos:
                    beat(client, info)
            except RedisError:
                log.warning("Redis is away")
            self._changed.wait(BEAT_S)

    def _info(self, worker: dramatiq.Worker) -> WorkerInfo:
        queues = sorted(worker.consumer_whitelist or worker.broker.get_declared_queues())
        return WorkerInfo(
            name=_name(worker),
            queues=queues,
            threads=worker.worker_threads,
            busy=sum(len(self._busy.get(queue, ())) for queue in queues),
            last_seen=time.time(),
        )


def _name(worker: dramatiq.Worker) -> str:
    """Names a set of threads; unique among machines, and the same at each beat."""
    queues = sorted(worker.consumer_whitelist or [])
    return f"{socket.gethostname()}-{os.getpid()}-{queues[0] if len(queues) == 1 else 'stages'}"
