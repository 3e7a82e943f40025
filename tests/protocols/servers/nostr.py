"""Publishes signed events to a Nostr relay: twenty a second of each kind that is on.

Its argument is the relay's address. A line on stdin switches a kind: "go 1", "stop 1". It ends with its stdin."""
import asyncio
import json
import os
import sys

import websockets
from aionostr.event import Event
from aionostr.key import PrivateKey


async def main():
    key = PrivateKey()
    kinds = set()
    over = asyncio.Event()

    def commands():
        lines = os.read(0, 4096).decode().splitlines()
        if not lines:
            over.set()
            asyncio.get_running_loop().remove_reader(0)
        for line in lines:
            word, kind = line.split()
            (kinds.add if word == "go" else kinds.discard)(int(kind))

    asyncio.get_running_loop().add_reader(0, commands)
    async with websockets.connect(sys.argv[1]) as relay:
        count = 0
        while not over.is_set():
            for kind in sorted(kinds):
                count += 1
                event = Event(pubkey=key.public_key.hex(), content=f"number {count}", kind=kind)
                event.sign(key.hex())
                await relay.send(json.dumps(["EVENT", event.to_json_object()]))
                answer = json.loads(await relay.recv())
                assert answer[0] == "OK" and answer[2], answer
            await asyncio.sleep(0.05)


asyncio.run(main())
