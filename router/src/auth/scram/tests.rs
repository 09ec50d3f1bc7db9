//! The exchange against an independent client: the one of `postgres-protocol`.

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use topology::verifier::{ITERATIONS, Verifier};

use super::{Exchange, Failed};

fn log_in(verifier: Verifier, password: &str) -> Result<(), Failed> {
    let mut client = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
    let (exchange, first) = Exchange::start(verifier, client.message(), "server-nonce")?;
    client
        .update(first.as_bytes())
        .expect("the server's first message is well-formed");
    let last = exchange.finish(client.message())?;
    client
        .finish(last.as_bytes())
        .expect("the server proves that it knows the verifier");
    Ok(())
}

#[test]
fn the_right_password_logs_in() {
    let verifier = Verifier::derive("sesame", b"0123456789abcdef", ITERATIONS);
    assert_eq!(log_in(verifier, "sesame"), Ok(()));
}

#[test]
fn a_wrong_password_does_not() {
    let verifier = Verifier::derive("sesame", b"0123456789abcdef", ITERATIONS);
    assert_eq!(log_in(verifier, "open"), Err(Failed::Mismatch));
}

#[test]
fn no_password_fits_the_decoy() {
    let verifier = Verifier::decoy(&[7; 32], "nobody");
    assert_eq!(log_in(verifier, ""), Err(Failed::Mismatch));
}

#[test]
fn malformed_messages_are_refused() {
    let verifier = || Verifier::derive("sesame", b"salt", 1);
    for text in [
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=,x=1",
        "p=tls-unique,,n=,r=abc",
        "x,,n=,r=abc",
    ] {
        assert!(
            Exchange::start(verifier(), text.as_bytes(), "nonce").is_err(),
            "{text:?}"
        );
    }
    let (exchange, _) = Exchange::start(verifier(), b"n,,n=,r=abc", "nonce").expect("a start");
    assert_eq!(
        exchange.finish(b"c=biws,r=abcnonce,p=AAAA").unwrap_err(),
        Failed::Malformed
    );
}
