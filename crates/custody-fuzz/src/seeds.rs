//! What each target begins with: the golden vectors, and what the code itself writes.

use crate::{filters, keys, requests, seal};

/// The seeds of a target; none of a name that is no target's.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match target {
        "header" => seal::GOLDEN.all.clone(),
        "body" => seal::bodies(),
        "keyring" => keys::objects(),
        "kms_file" => vec![keys::file_of_keys()],
        "kms_envelope" => vec![keys::envelope()],
        "record" => records(),
        "row" => vec![custody_engine::fuzzing::stored_row().unwrap()],
        "filter" => texts(&filters::FILTERS),
        "request" => requests::requests(),
        "rest" => requests::rest_requests(),
        "authorization" => {
            texts(&["root:secret", "cm9vdDpzZWNyZXQ=", "Bearer cm9vdDpzZWNyZXQ=", "Bearer key", "Bearer", " a:b:c "])
        }
        "name" => names(),
        _ => Vec::new(),
    }
}

fn records() -> Vec<Vec<u8>> {
    let records = custody_engine::fuzzing::records().unwrap();
    records.into_iter().map(|(kind, bytes)| [&[kind], &bytes[..]].concat()).collect()
}

fn names() -> Vec<Vec<u8>> {
    let reference = format!("aws\n{}\n{}\nexternal-id-1", keys::KEY_ARN, keys::ROLE_ARN);
    let alone = format!("local\n{}", keys::LOCAL_ARN);
    let names = [
        keys::KEY_ARN,
        keys::ROLE_ARN,
        keys::LOCAL_ARN,
        "in01-0a1b2c",
        "00112233445566778899aabbccddeeff",
        "local",
        "https://kms.eu-west-1.amazonaws.com",
        "http://[::1]:4566/",
        "AccessDeniedException\nnot authorized",
        &reference,
        &alone,
    ];
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}
