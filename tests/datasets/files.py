"""JSONL to try things with."""

import io
import json
from typing import Any


def conversation(question: str = "2+2?", answer: str = "4", **extra: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, **extra}


def jsonl(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def sums(count: int) -> bytes:
    return jsonl(*(conversation(f"{number}+1?", str(number + 1)) for number in range(count)))


def upload(content: bytes, name: str = "data.jsonl") -> io.BytesIO:
    file = io.BytesIO(content)
    file.name = name
    return file
