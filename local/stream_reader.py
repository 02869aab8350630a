"""Reading a stream from a point on: every shard, resharding included, with a position that can be kept."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from slidr.errors import SlidrError

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

_BATCH: Final = 10_000
_LIST_SHARDS_EVERY_S: Final = 30.0
_SLOW_DOWN: Final = ("ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException")


class StreamUnreadable(SlidrError):
    """The stream is missing, or reading it is denied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where to begin: after `sequences` (the record read last, by shard), else at `at`, `latest`, or the oldest."""

    sequences: Mapping[str, str] = field(default_factory=dict)
    at: dt.datetime | None = None
    latest: bool = False


class StreamReader:
    """Reads a stream round by round: `poll` gives what each open shard has next."""

    def __init__(
        self,
        kinesis: KinesisClient,
        stream: str,
        start: Start,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kinesis = kinesis
        self._stream = stream
        self._start = start
        self._clock = clock
        self._iterators: dict[str, str] = {}
        self._seen: set[str] = set()
        self._listed_s = float("-inf")
        self._opening = True
        self.position: dict[str, str] = dict(start.sequences)
        """Sequence number of the record read last, by shard."""
        self.behind_ms: dict[str, int] = {}
        """How far behind the tip each open shard is read, as the service says."""
        self._open_new_shards()
        self._opening = False

    @property
    def caught_up(self) -> bool:
        """Whether every open shard was read to its tip in its last poll."""
        return all(self.behind_ms.get(shard) == 0 for shard in self._iterators)

    def poll(self) -> Iterator[bytes]:
        """The data of every record that the open shards have next; nothing when there is nothing new."""
        if self._clock() - self._listed_s > _LIST_SHARDS_EVERY_S:
            self._open_new_shards()
        for shard in list(self._iterators):
            yield from self._read(shard)

    def _read(self, shard: str) -> Iterator[bytes]:
        try:
            answer = self._kinesis.get_records(ShardIterator=self._iterators[shard], Limit=_BATCH)
        except ClientError as failure:
            code = failure.response.get("Error", {}).get("Code", "")
            if code == "ExpiredIteratorException":
                self._iterators[shard] = self._iterator(shard)
                return
            if code in _SLOW_DOWN:
                return
            raise StreamUnreadable(
                f"the stream {self._stream} must be readable, came {code}: {failure}. See slidr status."
            ) from failure
        self.behind_ms[shard] = answer.get("MillisBehindLatest", 0)
        following = answer.get("NextShardIterator")
        for record in answer["Records"]:
            self.position[shard] = record["SequenceNumber"]
            yield bytes(record["Data"])
        if following:
            self._iterators[shard] = following
        else:  # closed by a reshard and read to its end: its children take over
            del self._iterators[shard]
            self._open_new_shards()

    def _open_new_shards(self) -> None:
        """Open the shards that are not open yet; children of a shard that is still being read wait for its end."""
        self._listed_s = self._clock()
        shards = self._list_shards()
        names = {shard["ShardId"] for shard in shards}
        for shard in shards:
            name = shard["ShardId"]
            parents = {shard.get("ParentShardId"), shard.get("AdjacentParentShardId")} & names
            if name in self._seen or any(parent not in self._seen or parent in self._iterators for parent in parents):
                continue
            self._iterators[name] = self._iterator(name)
            self._seen.add(name)

    def _list_shards(self) -> list[Any]:
        shards: list[Any] = []
        arguments: dict[str, Any] = {"StreamName": self._stream}
        try:
            while True:
                answer = self._kinesis.list_shards(**arguments)
                shards.extend(answer["Shards"])
                if not answer.get("NextToken"):
                    return sorted(shards, key=lambda shard: str(shard["ShardId"]))
                arguments = {"NextToken": answer["NextToken"]}
        except ClientError as failure:
            raise StreamUnreadable(
                f"the stream {self._stream} must exist and be readable, came: {failure}. Is the stage deployed?"
            ) from failure

    def _iterator(self, shard: str) -> str:
        arguments: dict[str, Any] = {"StreamName": self._stream, "ShardId": shard}
        if shard in self.position:
            arguments |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": self.position[shard]}
        elif self._start.at is not None:
            arguments |= {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": self._start.at}
        elif self._start.latest and self._opening:
            arguments["ShardIteratorType"] = "LATEST"
        else:
            arguments["ShardIteratorType"] = "TRIM_HORIZON"
        try:
            return self._kinesis.get_shard_iterator(**arguments)["ShardIterator"]
        except ClientError as failure:
            raise StreamUnreadable(
                f"shard {shard} of {self._stream} must be readable from {arguments}, came: {failure}. "
                "A kept position that is older than the stream's retention cannot be resumed: start with --from-start."
            ) from failure
