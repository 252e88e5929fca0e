//! Images for tests.

use std::collections::BTreeMap;

use model::BrokerId;
use uuid::Uuid;

use super::{BrokerRegistration, register_broker};
use crate::image::Image;
use crate::records::Endpoint;

pub(crate) fn registration(id: i32, incarnation: u128) -> BrokerRegistration {
    BrokerRegistration {
        broker_id: BrokerId::new_or_zero(id),
        incarnation_id: Uuid::from_u128(incarnation),
        listeners: vec![Endpoint { listener: "PLAINTEXT".to_owned(), host: "localhost".to_owned(), port: 9092, security_protocol: 0 }],
        rack: None,
        features: BTreeMap::new(),
        directory_id: Some(Uuid::from_u128(u128::from(id.unsigned_abs()))),
    }
}

/// An image with these brokers, none fenced.
pub(crate) fn image_of_brokers(ids: &[i32]) -> Image {
    let mut image = Image::default();
    for id in ids {
        let decision = register_broker(&image, registration(*id, 1), false).expect("a first registration");
        image = image.apply(image.index() + 1, &decision.records).0;
    }
    image
}
