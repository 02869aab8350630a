"""Many operators at once, against the local cloud's DynamoDB."""

from __future__ import annotations

import uuid

from tests.cloud.conftest import Emulator
from tests.pointer_contention import check, contend


def test_twenty_promotions_rollbacks_and_freezes_at_once_leave_one_pointer_and_its_whole_history(
    emulator: Emulator,
) -> None:
    dynamodb, table = emulator.client("dynamodb"), f"control-{uuid.uuid4().hex[:8]}"
    dynamodb.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )

    check(contend(dynamodb, table))
