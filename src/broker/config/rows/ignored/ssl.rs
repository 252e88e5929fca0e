//! Kafka's keys about TLS that change nothing in klamm.

use model::config::{Kind, Row};

use super::super::{fixed, of_one_broker};
use super::unused;

pub(super) const ROWS: &[Row] = &[
    of_one_broker(
        "principal.builder.class",
        Kind::Class,
        Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"),
        unused!("A Java class that makes a user of a connection's proof."),
    ),
    fixed("security.providers", Kind::Text, None, unused!("Java classes that bring security algorithms.")),
    fixed(
        "ssl.allow.dn.changes",
        Kind::Boolean,
        Some("false"),
        unused!("Whether a listener's new certificate may have another name than the old one."),
    ),
    fixed(
        "ssl.allow.san.changes",
        Kind::Boolean,
        Some("false"),
        unused!("Whether a listener's new certificate may lack other names that the old one had."),
    ),
    of_one_broker(
        "ssl.cipher.suites",
        Kind::List(&[]),
        Some(""),
        unused!("The cipher suites that are allowed; all that Java has if there are none."),
    ),
    of_one_broker(
        "ssl.client.auth",
        Kind::OneOf(&["required", "requested", "none"]),
        Some("none"),
        unused!("Whether clients must, may or need not show a certificate."),
    ),
    of_one_broker("ssl.enabled.protocols", Kind::List(&[]), Some("TLSv1.2,TLSv1.3"), unused!("The versions of TLS that are allowed.")),
    of_one_broker(
        "ssl.endpoint.identification.algorithm",
        Kind::Text,
        Some("https"),
        unused!("How the host of a certificate is checked; empty is not at all."),
    ),
    of_one_broker("ssl.engine.factory.class", Kind::Class, None, unused!("A Java class that makes TLS engines.")),
    of_one_broker("ssl.key.password", Kind::Password, None, unused!("What opens the private key.")),
    of_one_broker("ssl.keymanager.algorithm", Kind::Text, Some("SunX509"), unused!("Java's algorithm for the broker's own keys.")),
    of_one_broker("ssl.keystore.certificate.chain", Kind::Password, None, unused!("The broker's certificates as PEM text.")),
    of_one_broker("ssl.keystore.key", Kind::Password, None, unused!("The broker's private key as PEM text.")),
    of_one_broker("ssl.keystore.location", Kind::Text, None, unused!("The file of the broker's key and certificates.")),
    of_one_broker("ssl.keystore.password", Kind::Password, None, unused!("What opens the file of the broker's key.")),
    of_one_broker("ssl.keystore.type", Kind::Text, Some("JKS"), unused!("The format of the file of the broker's key: JKS, PKCS12 or PEM.")),
    fixed(
        "ssl.principal.mapping.rules",
        Kind::Text,
        Some("DEFAULT"),
        unused!("How the name of a client's certificate becomes a user's name."),
    ),
    of_one_broker("ssl.protocol", Kind::Text, Some("TLSv1.3"), unused!("The version of TLS with which an engine is made.")),
    of_one_broker("ssl.provider", Kind::Text, None, unused!("The Java provider of TLS.")),
    of_one_broker("ssl.secure.random.implementation", Kind::Text, None, unused!("Java's source of randomness for TLS.")),
    of_one_broker("ssl.trustmanager.algorithm", Kind::Text, Some("PKIX"), unused!("Java's algorithm for trusted certificates.")),
    of_one_broker("ssl.truststore.certificates", Kind::Password, None, unused!("The trusted certificates as PEM text.")),
    of_one_broker("ssl.truststore.location", Kind::Text, None, unused!("The file of the trusted certificates.")),
    of_one_broker("ssl.truststore.password", Kind::Password, None, unused!("What opens the file of the trusted certificates.")),
    of_one_broker(
        "ssl.truststore.type",
        Kind::Text,
        Some("JKS"),
        unused!("The format of the file of the trusted certificates: JKS, PKCS12 or PEM."),
    ),
];
