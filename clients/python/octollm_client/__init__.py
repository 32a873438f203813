"""The client of OctoLLM: `Client` and `AsyncClient`; octollm_client.types has the types of the API's documents."""

from octollm_client._retry import RetryPolicy
from octollm_client._version import VERSION
from octollm_client.async_client import AsyncClient
from octollm_client.client import Client
from octollm_client.errors import (
    ApiError,
    BadRequest,
    Conflict,
    ConnectionFailed,
    DownloadDamaged,
    Forbidden,
    Invalid,
    NotFound,
    OctollmError,
    ServerError,
    TaskFailed,
    TooMany,
    Unauthenticated,
    WaitTimeout,
)

__version__ = VERSION
__all__ = [
    "ApiError",
    "AsyncClient",
    "BadRequest",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "DownloadDamaged",
    "Forbidden",
    "Invalid",
    "NotFound",
    "OctollmError",
    "RetryPolicy",
    "ServerError",
    "TaskFailed",
    "TooMany",
    "Unauthenticated",
    "WaitTimeout",
]
