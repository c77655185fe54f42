"""Refusals, in the shapes Confluence gives them."""

from http import HTTPStatus

from starlette.responses import JSONResponse

EXCEPTIONS = {
    400: "BadRequestException",
    403: "PermissionException",
    404: "NotFoundException",
    409: "ConflictException",
    413: "RequestTooLarge",
}


class Refusal(Exception):
    """An answer other than success. ``plain``: without the exception's class and ``data``."""

    def __init__(
        self, status: int, message: str, *, plain: bool = False, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.plain = plain
        self.headers = headers or {}

    def response(self) -> JSONResponse:
        if self.plain:
            return JSONResponse({"message": self.message, "status-code": self.status}, self.status, self.headers)
        name = EXCEPTIONS.get(self.status)
        prefix = f"com.atlassian.confluence.api.service.exceptions.{name}: " if name else ""
        data = {"authorized": self.status != 403, "valid": True, "errors": [], "successful": False}
        body = {
            "statusCode": self.status,
            "data": data,
            "message": prefix + self.message,
            "reason": HTTPStatus(self.status).phrase,
        }
        return JSONResponse(body, self.status, self.headers)
