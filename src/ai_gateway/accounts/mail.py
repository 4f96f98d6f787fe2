"""E-mail through the operator's mail server. Imported on first use, since few gateways send mails."""

import asyncio
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, parseaddr
from typing import Self
from urllib.parse import unquote, urlsplit

import structlog

from ai_gateway.accounts.delivery import NotDelivered
from ai_gateway.providers.http.tls import default_tls

# Seconds for each socket operation; the caller bounds the whole attempt.
_STEP_S = 5.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MailServer:
    """SMTP_URL and SMTP_FROM. `is_tls` means implicit TLS; otherwise STARTTLS is used if offered."""

    host: str
    port: int
    sender: str
    is_tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext = field(default_factory=default_tls, repr=False)

    @classmethod
    def at(cls, url: str, sender: str) -> Self:
        """The server of a valid SMTP_URL. Default ports: 587, submission (RFC 6409), and 465 with TLS (RFC 8314)."""
        parts = urlsplit(url)
        is_tls = parts.scheme == "smtps"
        return cls(
            host=parts.hostname or "",
            port=parts.port or (465 if is_tls else 587),
            sender=sender,
            is_tls=is_tls,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password or "") if parts.username else None,
        )

    async def send(self, identifier: str, recipients: tuple[str, ...], subject: str, text: str) -> None:
        """Send one mail to all recipients. Raises NotDelivered."""
        sending = _Sending(self, _message(self.sender, identifier, recipients, subject, text))
        try:
            await _in_own_thread(sending.run)
        except asyncio.CancelledError:
            sending.abort()
            raise


async def _in_own_thread(work: Callable[[], None]) -> None:
    """Run this in a thread of its own: a few mail servers that hang would occupy all threads of the event loop.

    Metrics and lists of models, among others, wait for these.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def conclude(failure: Exception | None) -> None:
        if done.done():
            return
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)

    def run() -> None:
        failure = None
        try:
            work()
        except Exception as error:
            failure = error
        with suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(conclude, failure)

    threading.Thread(target=run, name="mail", daemon=True).start()
    await done


def _message(sender: str, identifier: str, recipients: tuple[str, ...], subject: str, text: str) -> EmailMessage:
    """The message, equal for each attempt except its date, so that mail servers recognise repetitions."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = [address for address in map(_address, recipients) if address is not None]
    message["Subject"] = one_line(subject)
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = f"<{identifier}@{_domain(sender)}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: suppresses automatic replies
    message.set_content(text)
    return message


def one_line(text: str) -> str:
    """The text without line ends, which would end a header."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _address(text: str) -> Address | None:
    try:
        address = Address(addr_spec=text)
    except Exception:  # the parser raises many classes, even IndexError
        address = None
    if address is None or not address.domain:
        _log.error("recipient of a spend alert is no address", recipient=text)
        return None
    return address


def _domain(sender: str) -> str:
    return parseaddr(sender)[1].rpartition("@")[2]


class _Sending:
    """The sending of one mail, in a thread. `abort` may be called from another thread."""

    def __init__(self, server: MailServer, message: EmailMessage) -> None:
        self._server, self._message = server, message
        self._client: smtplib.SMTP | None = None
        self._aborted = False

    def run(self) -> None:
        if not self._message["To"].addresses:
            raise NotDelivered("none of the recipients is an address", is_final=True)
        try:
            self._send()
        except smtplib.SMTPRecipientsRefused as error:
            raise NotDelivered(f"every recipient was refused: {error.recipients}") from error
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise NotDelivered(f"{type(error).__name__}: {error}") from error

    def abort(self) -> None:
        self._aborted = True
        sock = self._client.sock if self._client is not None else None
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # for TLS as well: wakes the reading thread

    def _send(self) -> None:
        client = self._client = self._connected()
        try:
            self._greet(client)
            if not self._aborted:
                refused = client.send_message(self._message)
                if refused:
                    reasons = {who: str(why) for who, why in refused.items()}
                    _log.error("recipients of a spend alert refused", refused=reasons)
                with suppress(smtplib.SMTPException, OSError):  # the mail is accepted already
                    client.quit()
        finally:
            client.close()

    def _connected(self) -> smtplib.SMTP:
        server = self._server
        # A fixed name for EHLO: the library would look one up in the DNS, which may be slow.
        name = _domain(server.sender)
        if server.is_tls:
            return smtplib.SMTP_SSL(server.host, server.port, name, timeout=_STEP_S, context=server.tls)
        return smtplib.SMTP(server.host, server.port, name, timeout=_STEP_S)

    def _greet(self, client: smtplib.SMTP) -> None:
        server = self._server
        client.ehlo_or_helo_if_needed()
        if not server.is_tls:
            if client.has_extn("starttls"):
                client.starttls(context=server.tls)
                client.ehlo_or_helo_if_needed()
            elif server.user is not None:
                raise NotDelivered("the mail server offers no STARTTLS, and a password is not sent unencrypted")
        if server.user is not None:
            client.login(server.user, server.password or "")
