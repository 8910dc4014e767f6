"""Object stores (S3 and what speaks like it, by obstore): ranges, conditional creation, and errors as sentences."""

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from itertools import chain, islice
from typing import Any, TypeVar

from pydantic import Field

from infra.manifest import Manifest
from infra.objects import CHUNK, Stored
from infra.storage import Seekable

T = TypeVar("T")


SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss")
"""Beginnings of URLs that are read: stores of objects, and nothing that runs, or reads another disk."""


class StorageError(OSError):
    """What a store refuses. The message is a sentence for a person."""


class MissingError(StorageError, FileNotFoundError):
    """There is no such object."""


class Storage(Manifest):
    """How a store is reached. Credentials are not here: they come from the environment, the machine, or a profile."""

    endpoint: str | None = None
    """URL of a store that is not AWS: MinIO, Ceph, R2, ..."""
    region: str | None = None
    anonymous: bool = False
    """Sign nothing: a bucket that everybody may read."""
    profile: str | None = None
    """A profile of ~/.aws (needs boto3); by default the AWS_ variables, a web identity, or the machine's own role."""
    path_style: bool = True
    """The bucket in the path of the URL, not in the host name; for stores that are not AWS."""
    timeout_seconds: float = Field(default=60.0, gt=0)
    """Of one request."""
    retries: int = Field(default=6, ge=0)
    """Times that a request is sent again after 5xx, a timeout or a broken connection, waiting longer each time."""


@dataclass(frozen=True)
class Bucket:
    """A prefix in a bucket."""

    url: str
    storage: Storage = Storage()

    def __str__(self) -> str:
        return self.url

    def inside(self, name: str) -> "Bucket":
        """A prefix in it."""
        return replace(self, url=f"{self.url}/{name}")

    @cached_property
    def store(self) -> Any:
        """Of obstore; the connection is opened by the first request."""
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        asked, config = self.storage, dict[str, Any]()
        # an endpoint may be plain HTTP, here or in AWS_ENDPOINT_URL; those of AWS never are
        options: dict[str, Any] = {"timeout": timedelta(seconds=asked.timeout_seconds), "allow_http": True}
        if asked.endpoint is not None:
            config |= {"endpoint": asked.endpoint, "virtual_hosted_style_request": not asked.path_style}
        if asked.region is not None:
            config["region"] = asked.region
        if asked.anonymous:
            config["skip_signature"] = True
        retry: dict[str, Any] = {"max_retries": asked.retries, "retry_timeout": timedelta(seconds=600)}
        named = {} if asked.profile is None else {"credential_provider": profile_credentials(asked.profile)}
        if self.url.partition("://")[0] not in SCHEMES:
            raise StorageError(f"{self.url}: not the URL of a store; try s3://BUCKET/PREFIX")
        try:
            make: Any = from_url  # its types do not know a store whose kind is in the URL
            return make(self.url, config=config, client_options=options, retry_config=retry, **named)
        except (BaseError, ValueError) as error:
            raise StorageError(
                f"{self.url}: not the URL of a store ({first_line(error)}); try s3://BUCKET/PREFIX"
            ) from None

    def read(self, name: str) -> bytes:
        """The whole object."""
        return self.asked(name, lambda o: bytes(o.get(self.store, name).bytes()))

    def span(self, name: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of the object, by one request."""
        return self.asked(name, lambda o: bytes(o.get_range(self.store, name, start=start, end=end)))

    def open(self, name: str) -> io.BufferedReader:
        """The object, as a file that is read in large pieces."""
        return io.BufferedReader(self.parquet(name), CHUNK)

    def parquet(self, name: str) -> "Ranged":
        """The object, as a file each of whose reads is one request."""
        return Ranged(self, name, self.asked(name, lambda o: int(o.head(self.store, name)["size"])))

    def stored(self, name: str) -> Stored | None:
        """Its size, and the hash that `put` has noted with it."""
        try:
            found = self.asked(name, lambda o: o.get(self.store, name, options={"head": True}))
        except MissingError:
            return None
        return Stored(int(found.meta["size"]), found.attributes.get("sha256"))

    def put(self, name: str, data: Iterable[bytes], *, sha256: str) -> None:
        """Send the object, in parts where it is more than one chunk: it is there when the last one is."""
        chunks = iter(data)
        start = list(islice(chunks, 2))
        body = chain(start, chunks) if len(start) > 1 else b"".join(start)
        words: dict[str, Any] = {"attributes": {"sha256": sha256}, "chunk_size": CHUNK, "max_concurrency": 4}
        self.asked(name, lambda o: o.put(self.store, name, body, use_multipart=len(start) > 1, **words))

    def create(self, name: str, data: bytes) -> bool:
        """Send the object with `If-None-Match: *`: of all who do, the store lets one win."""
        from obstore.exceptions import AlreadyExistsError

        try:
            self.asked(name, lambda o: o.put(self.store, name, data, mode="create", use_multipart=False))
        except AlreadyExistsError:
            return False
        return True

    def asked(self, name: str, call: Callable[[Any], T]) -> T:
        """What `call` returns when it is given obstore.

        Raises: StorageError, MissingError; obstore's AlreadyExistsError.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError

        try:
            return call(obstore)
        except AlreadyExistsError:
            raise
        except (BaseError, FileNotFoundError, NotImplementedError) as error:
            if isinstance(error, StorageError):
                raise
            raise self.error(name, str(error)) from None

    def error(self, name: str, told: str) -> StorageError:
        """The sentence for what obstore says."""
        where, endpoint = f"{self.url}/{name}", self.storage.endpoint or "AWS"
        status = found(r"status code: (\d+)", told)
        code = found(r"<Code>(\w+)</Code>", told)
        tries = f"after {self.storage.retries} more tries"
        if code == "NoSuchBucket":
            return StorageError(f"{self.url}: there is no such bucket at {endpoint}; create it, or correct the URL")
        if status == "404":
            return MissingError(f"{where}: there is no such object")
        if "/latest/api/token" in told or "/latest/meta-data" in told:
            return StorageError(
                f"{where}: no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile "
                "in the storage manifest, or say `anonymous: true` there"
            )
        if status in ("401", "403"):
            why = f" ({code})" if code else ""
            return StorageError(f"{where}: {endpoint} does not allow it{why}; check the key, its policy and the region")
        if status == "507" or code in ("XMinioStorageFull", "QuotaExceeded", "InsufficientCapacity"):
            return StorageError(f"{where}: the store is full ({code or status}); free space in it, and run again")
        if status is not None and status.startswith("5"):
            why = f"{status} {code}" if code else status
            return StorageError(f"{where}: {endpoint} answers {why}, {tries}; run again later, it goes on from here")
        if status is None:
            kind = "does not answer in time" if "kind: Timeout" in told or "timed out" in told else "cannot be reached"
            return StorageError(f"{where}: {endpoint} {kind}, {tries} ({first_line(told)}); run again later")
        return StorageError(f"{where}: {endpoint} answers {status} {code or ''} ({first_line(told)})")


class Ranged(Seekable):
    """An object as a file that seeks: each read is one request for a range."""

    def __init__(self, bucket: Bucket, name: str, size: int) -> None:
        self.bucket, self.name, self.size = bucket, name, size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go there."""
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def readinto(self, into: Any) -> int:
        """As much as there is."""
        view = memoryview(into)
        end = min(self.at + len(view), self.size)
        if self.at >= end:
            return 0
        data = self.bucket.span(self.name, self.at, end)
        view[: len(data)] = data
        self.at += len(data)
        return len(data)


def profile_credentials(profile: str) -> Any:
    """Credentials of a profile in ~/.aws, renewed when they end.

    Raises: StorageError
    """
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise StorageError(f"the profile {profile!r} of ~/.aws needs boto3: pip install boto3") from None
    try:
        return Boto3CredentialProvider(boto3.Session(profile_name=profile))
    except (BotoCoreError, ValueError) as error:
        raise StorageError(f"the profile {profile!r} of ~/.aws cannot be used: {error}") from None


def found(pattern: str, told: str) -> str | None:
    """The group of the first match."""
    match = re.search(pattern, told)
    return match.group(1) if match else None


def first_line(told: object) -> str:
    """Its beginning, in one line."""
    return str(told).split("\n")[0][:200]
