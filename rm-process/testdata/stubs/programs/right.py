"""Uses of the callbacks in which type checkers find nothing."""

from typing import Any

import kameo
from kameo import Call
from kameo.trading import CallbackOptions, DataFetchRequest, DataFetchResponseItem
from kameo.trading.eu import DataPointDict, Order


async def awaited() -> list[float]:
    request = DataFetchRequest("AAPL", start_date="2024-01-01")
    item = await kameo.trading.DataFetch(request)
    return item["data"]


async def streamed() -> int:
    count = 0
    call = kameo.trading.DataFetch({"symbol": "AAPL", "start_date": "2024-01-01"})
    async for item in call:
        count += len(item["data"])
    await call.aclose()
    return count


def plain() -> list[str]:
    call: Call[DataFetchResponseItem] = kameo.trading.DataFetch(
        {"symbol": "AAPL", "start_date": "2024-01-01"}
    )
    return [item["timestamp"] for item in call]


async def enums() -> str:
    parameters: dict[str, Any] = {"symbol": "AAPL", "limits": [1, 2]}
    call = kameo.trading.Complex(
        {
            "operation": "fetch_ohlc",
            "parameters": parameters,
            "metadata": {"correlation_id": "1", "timestamp": "now", "source": "bot"},
            "options": CallbackOptions(adjust_splits=True),
        }
    )
    async for response in call:
        if "DataChunk" in response:
            chunk = response["DataChunk"]
            return f"{chunk['chunk_id']} {chunk['data'][0]['value'] + 1.0}"
        elif "Progress" in response:
            return response["Progress"]["message"]
        else:
            return response["Error"]["error_code"]
    return ""


def tagged() -> float | None:
    kameo.shapes.Tagged({"type": "started"})
    point: DataPointDict = {"at": (1, 2), "value": 1.5}
    order = Order(1, {"a", "b"}, "Stop", point, "XETRA", note="now")
    for event in kameo.trading.eu.Place(order):
        if event["type"] == "tick":
            return event["price"]
    return None


def steered() -> None:
    kameo.trading.eu.Steer("Stop")
    kameo.trading.eu.Steer(["Move", "north", 3])
    kameo.trading.eu.Steer({"Move": ("north", 3)})
    kameo.trading.eu.Steer({"Nested": {"set-speed": 1.5}})
    kameo.trading.eu.Points([{"value": 1}])
    kameo.shapes.Nothing(None)
    kameo.shapes.Open({"id": 1, "anything": "goes"})
