from collections.abc import Callable
from typing import Any, ClassVar

from flask import Flask
from flask.views import MethodView

class Resource(MethodView):
    methods: ClassVar[set[str] | None]  # type: ignore[assignment]

class Api:
    representations: dict[str, Callable[..., Any]]
    def __init__(self, app: Flask | None = ...) -> None: ...
    def error_router(self, original_handler: Any, e: Exception) -> Any: ...
    def add_resource(self, resource: type[Resource], *urls: str, **kwargs: Any) -> None: ...
