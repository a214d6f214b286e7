class OpenAIBackend:
    def __init__(self, url, key, transport):
        self.t = transport

    async def complete(self, r):
        return None

    async def close(self):
        await self.t.aclose()
