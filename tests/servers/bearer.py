"""Bearer tokens before an application: wrong or expired ones get 401."""

from starlette.requests import Request
from starlette.responses import JSONResponse


class BearerToken:
    """ASGI middleware. PUT /__token {"token": ..., "expires_after": n requests or null}."""

    def __init__(self, app, token=None, expires_after=None):
        self.app = app
        self.token = token
        self.left = expires_after

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if scope["path"] == "/__token":
            return await self._set(scope, receive, send)
        given = dict(scope["headers"]).get(b"authorization", b"").decode()
        if self.token is not None and (given != f"Bearer {self.token}" or self.left == 0):
            error = {
                "code": 401,
                "message": "invalid or expired token",
                "status": "UNAUTHENTICATED",
            }
            return await JSONResponse({"error": error}, 401)(scope, receive, send)
        if self.left:
            self.left -= 1
        return await self.app(scope, receive, send)

    async def _set(self, scope, receive, send):
        body = await Request(scope, receive).json()
        self.token, self.left = body["token"], body["expires_after"]
        await JSONResponse({})(scope, receive, send)
