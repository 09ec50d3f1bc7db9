"""What libpq 17 sends with sslnegotiation=direct: TLS at once, for the protocol postgresql."""

import os
import socket
import ssl
import struct

ENV = os.environ


def login(protocols):
    context = ssl.create_default_context(cafile=ENV["PGSSLROOTCERT"])
    context.load_cert_chain(ENV["PGSSLCERT"], ENV["PGSSLKEY"])
    context.set_alpn_protocols(protocols)
    plain = socket.create_connection((ENV["PGHOST"], int(ENV["PGPORT"])), timeout=10)
    with context.wrap_socket(plain, server_hostname=ENV["PGHOST"]) as stream:
        parameters = f"user\0{ENV['PGUSER']}\0database\0{ENV['PGDATABASE']}\0\0".encode()
        stream.sendall(struct.pack("!ii", 8 + len(parameters), 196608) + parameters)
        return stream.recv(9)


assert login(["postgresql"]) == b"R\0\0\0\x08\0\0\0\0"
for wrong in [["http/1.1"], []]:
    try:
        answer = login(wrong)
    except OSError:
        answer = b""
    assert answer == b"", (wrong, answer)
