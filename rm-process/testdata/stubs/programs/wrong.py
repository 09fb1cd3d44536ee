"""Uses of the callbacks with a mistake in each line that names pyright's rule and mypy's code."""

import kameo
from kameo.trading import DataFetchRequest

kameo.trading.DataFetch({"symbol": "AAPL"})  # wrong: reportArgumentType, arg-type
kameo.trading.DataFetch({"symbol": 1, "start_date": ""})  # wrong: reportArgumentType, arg-type
kameo.trading.DataFetch({"symbol": "", "start_date": "", "end": ""})  # wrong: reportArgumentType, arg-type
kameo.trading.DataFetch()  # wrong: reportCallIssue, call-arg
kameo.trading.DataFetch(symbol="", start_date="")  # wrong: reportCallIssue, call-arg
DataFetchRequest("AAPL")  # wrong: reportCallIssue, call-arg
DataFetchRequest("AAPL", 3)  # wrong: reportArgumentType, arg-type
kameo.trading.NoSuch({})  # wrong: reportAttributeAccessIssue, attr-defined
kameo.nowhere.DataFetch({})  # wrong: reportAttributeAccessIssue, attr-defined
kameo.trading.eu.Steer("Halt")  # wrong: reportArgumentType, arg-type
kameo.trading.eu.Steer({"set-speed": "fast"})  # wrong: reportArgumentType, arg-type
kameo.shapes.Tagged({"type": "tick"})  # wrong: reportArgumentType, typeddict-item


async def awaited(request: DataFetchRequest) -> int:
    item = await kameo.trading.DataFetch(request)
    item["time"]  # wrong: reportGeneralTypeIssues, typeddict-item
    return item["timestamp"]  # wrong: reportReturnType, return-value


def sized() -> None:
    for event in kameo.trading.eu.Place({}):  # wrong: reportArgumentType, arg-type
        event["price"]  # wrong: reportGeneralTypeIssues, typeddict-item
