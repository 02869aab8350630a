"""A Kinesis of a few lists: what it is told to refuse it refuses."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Operation")


class FakeKinesis:
    """PutRecords with scripted refusals: one entry a request, a set of keys to refuse, or an error to raise."""

    def __init__(self, *script: set[str] | Exception) -> None:
        self.script = list(script)
        self.requests: list[list[str]] = []
        self.stored: list[tuple[str, str]] = []

    def put_records(self, *, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        keys = [record["PartitionKey"] for record in Records]
        self.requests.append(keys)
        refused = self.script.pop(0) if self.script else set()
        if isinstance(refused, Exception):
            raise refused
        self.stored += [(StreamName, key) for key in keys if key not in refused]
        return {
            "Records": [
                {"ErrorCode": "ProvisionedThroughputExceededException"} if key in refused else {"SequenceNumber": "1"}
                for key in keys
            ]
        }


class FakeShards:
    """A stream of shards that may have been split; reads pages of two records."""

    def __init__(self, shards: dict[str, list[bytes]], *, parents: dict[str, str] | None = None) -> None:
        self.shards = shards
        self.parents = parents or {}
        self.opened: list[tuple[str, str]] = []
        self.errors: list[Exception] = []

    def list_shards(self, **_: Any) -> dict[str, Any]:
        return {
            "Shards": [
                {"ShardId": name} | ({"ParentShardId": self.parents[name]} if name in self.parents else {})
                for name in self.shards
            ]
        }

    def get_shard_iterator(self, *, ShardId: str, ShardIteratorType: str, **more: Any) -> dict[str, str]:  # noqa: N803
        self.opened.append((ShardId, ShardIteratorType))
        if ShardIteratorType == "AFTER_SEQUENCE_NUMBER":
            position = int(more["StartingSequenceNumber"]) + 1
        else:
            position = len(self.shards[ShardId]) if ShardIteratorType == "LATEST" else 0
        return {"ShardIterator": f"{ShardId}/{position}"}

    def get_records(self, *, ShardIterator: str, Limit: int) -> dict[str, Any]:  # noqa: N803
        if self.errors:
            raise self.errors.pop(0)
        shard, _, start = ShardIterator.partition("/")
        records = self.shards[shard][int(start) : int(start) + min(Limit, 2)]
        position = int(start) + len(records)
        closed = shard in self.parents.values() and position == len(self.shards[shard])
        return {
            "Records": [
                {"Data": data, "SequenceNumber": str(int(start) + index)} for index, data in enumerate(records)
            ],
            "MillisBehindLatest": 0 if position == len(self.shards[shard]) else 1000,
            **({} if closed else {"NextShardIterator": f"{shard}/{position}"}),
        }
