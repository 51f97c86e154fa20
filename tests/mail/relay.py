"""An SMTP relay for the tests: aiosmtpd, with what one JSON object on the command line says.

host, port, mails (a file that gets one JSON line a mail), tls (none, starttls, tls), certificate, key,
username, password, replies (what to say to RCPT of an address).
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

options = json.loads(sys.argv[1])
tls = options.get("tls", "none")
context = None
if tls != "none":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options["certificate"], options["key"])


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        reply = options.get("replies", {}).get(address)
        if reply:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "hello": session.host_name,
            "login": bool(session.authenticated),
            "encrypted": session.ssl is not None or tls == "tls",
            "content": envelope.content.decode(),
        }
        with open(options["mails"], "a") as mails:
            print(json.dumps(mail), file=mails)
        return "250 2.0.0 OK: taken"


def authenticate(server, session, envelope, mechanism, data):
    known = data.login.decode() == options["username"] and data.password.decode() == options["password"]
    return AuthResult(success=known, handled=False, auth_data=data)


def connection():
    with_login = "username" in options
    return SMTP(
        Handler(),
        hostname="relay.example.com",
        tls_context=context if tls == "starttls" else None,
        require_starttls=tls == "starttls",
        auth_required=with_login,
        # aiosmtpd does not see the TLS that was there from the first byte.
        auth_require_tls=tls == "starttls",
        authenticator=authenticate if with_login else None,
    )


async def main():
    direct = context if tls == "tls" else None
    await asyncio.get_running_loop().create_server(connection, options["host"], options["port"], ssl=direct)
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
