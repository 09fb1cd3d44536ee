"""The Python side of the contract's serialization guide, row by row."""

ROWS = {
    "Basic": {
        "integer": 42,
        "float": 3.14,
        "string": "hello",
        "boolean": True,
        "optional": "value",
    },
    "Collections": {
        "vector": ["a", "b", "c"],
        "hashmap": {"key1": 1, "key2": 2},
        "btreemap": {"key1": 1, "key2": 2},
        "tuple": ["string", 42],
        "array": [1, 2, 3],
    },
    "Simple": ["Variant1", "Variant2", "Variant3"],
    "Data": ["Unit", {"Tuple": ["hello", 42]}, {"Struct": {"field1": "hello", "field2": 42}}],
    "Complex": [
        {
            "Success": {
                "data": [{"id": 1, "value": "item1"}, {"id": 2, "value": "item2"}],
                "metadata": {"source": "api", "version": "1.0"},
            }
        },
        {
            "Error": {
                "code": 404,
                "message": "Not found",
                "details": {"resource": "user", "id": "12345"},
            }
        },
        {"Partial": {"items": [{"id": 1, "value": "item1"}], "has_more": True}},
    ],
    "Optional": {"required": "always here", "optional_string": None, "optional_number": 42},
    "Newtypes": {"user_id": 12345, "email": "user@example.com"},
    "Flexible": {
        "command": "process_data",
        "payload": {"items": [1, 2.5, -3], "config": {"mode": "fast", "limit": 100}},
        "metadata": None,
    },
    "Bytes": b"\x00\xff raw",
    "Large": {"unsigned": 2**128 - 1, "signed": -(2**127)},
    "Keys": {1: "one", -2: "minus two"},
}

# Other forms of the same, which Rust takes as well.
FORMS = {
    "Collections": {
        "vector": ("a", "b", "c"),
        "hashmap": {"key1": 1, "key2": 2},
        "btreemap": {"key2": 2, "key1": 1},
        "tuple": ("string", 42),
        "array": (1, 2, 3),
    },
    "Data": ["Unit", ["Tuple", "hello", 42], {"Struct": {"field1": "hello", "field2": 42}}],
    "Optional": {"required": "always here", "optional_number": 42},
    "Bytes": bytearray(b"\x00\xff raw"),
}


def serve(request):
    """Whether a row came as the guide says, and the row in both forms."""
    ((name, value),) = request.items()
    expected = ROWS[name]
    same = value == expected and repr(type(value)) == repr(type(expected))
    return [same, {name: expected}, {name: FORMS.get(name, expected)}]


def lists(request):
    """What came, as text: for forms that are not to be read again."""
    return [repr(request)]
