//! Secrets that variables give, and a process whose environment does not hold them (rule 28).
//!
//! What a process was started with stays in its first pages, for everybody to read who may look at the process, and goes on to
//! each program that it starts. So a command that runs for long takes them out: it writes them into memory without a name
//! and becomes a fresh image of itself whose environment never had them. That keeps the process's id, its files and its
//! parent, and comes before any thread.

use std::{
    collections::BTreeMap,
    env::VarError,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
    sync::OnceLock,
};

use rustix::fs::{MemfdFlags, memfd_create};
use zeroize::Zeroizing;

use crate::Failure;

/// The variables that hold secrets of ours.
const SECRETS: [&str; 4] =
    ["CUSTODY_ROOT_PASSWORD", "CUSTODY_API_KEY", "CUSTODY_ADMIN_PASSWORD", "CUSTODY_ADMIN_API_KEY"];
/// Tells the next image the number of the descriptor.
const VARIABLE: &str = "CUSTODY_SECRETS_MEMORY";
/// More than any environment may hold.
const MOST: u64 = 16 << 20;

static TAKEN: OnceLock<Secrets> = OnceLock::new();

/// Name and value of each.
type Secrets = BTreeMap<String, Zeroizing<String>>;

/// What becomes of the memory once it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It is emptied: this image is the last.
    Empty,
    /// It stays for the images that replace this one.
    Keep,
}

/// Takes the secrets out of the environment. Where there are any, this image ends here and a fresh one comes to the same
/// place, finds them in memory, and goes on.
pub(crate) fn take(then: Then) -> Result<(), Failure> {
    if let Ok(number) = std::env::var(VARIABLE) {
        let number: i32 = number.parse().map_err(|_| format!("{VARIABLE} is not a number"))?;
        let found = load(number).map_err(|error| format!("what the image before left can't be read: {error}"))?;
        // Emptied by a process that this one was started from: what follows is its own.
        if !found.is_empty() {
            if then == Then::Empty {
                open(number, OpenOptions::new().write(true).truncate(true))?;
            }
            TAKEN.get_or_init(|| found);
            return Ok(());
        }
    }
    let found = given(|name| std::env::var(name))?;
    if found.is_empty() { Ok(()) } else { Err(begin_anew(&found)) }
}

/// A variable: one that was taken out of the environment, or one that is there.
pub(crate) fn variable(name: &str) -> Result<String, VarError> {
    match TAKEN.get().and_then(|taken| taken.get(name)) {
        Some(secret) => Ok(secret.to_string()),
        None => std::env::var(name),
    }
}

fn given(read: impl Fn(&str) -> Result<String, VarError>) -> Result<Secrets, Failure> {
    let mut found = Secrets::new();
    for name in SECRETS {
        match read(name) {
            Ok(secret) => drop(found.insert(name.to_owned(), Zeroizing::new(secret))),
            Err(VarError::NotPresent) => {}
            // The error of the library would print the value.
            Err(VarError::NotUnicode(_)) => return Err(format!("{name} is not valid UTF-8").into()),
        }
    }
    Ok(found)
}

/// Becomes a fresh image of itself. Returns only on failure: it does not go on with secrets where others could read them.
fn begin_anew(secrets: &Secrets) -> Failure {
    let number = match store(secrets) {
        Ok(number) => number,
        Err(error) => return unable(&error),
    };
    // The image that runs now, even if its file was replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    let mut arguments = std::env::args_os();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env(VARIABLE, number.to_string());
    for name in SECRETS {
        command.env_remove(name);
    }
    unable(&command.exec())
}

fn unable(error: &std::io::Error) -> Failure {
    format!("secrets could not be taken out of the environment ({error}): give them in files (CUSTODY_…_FILE)").into()
}

/// Writes the secrets into memory that the next image finds.
fn store(secrets: &Secrets) -> std::io::Result<i32> {
    let plain: BTreeMap<&str, &str> = secrets.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let bytes = Zeroizing::new(serde_json::to_vec(&plain)?);
    // Not closed when the image is replaced: that is what it is for.
    let memory: OwnedFd = memfd_create("custody-secrets", MemfdFlags::empty())?;
    let number = memory.as_raw_fd();
    open(number, OpenOptions::new().write(true))?.write_all(&bytes)?;
    // The descriptor is this process's to its end.
    std::mem::forget(memory);
    Ok(number)
}

fn load(number: i32) -> std::io::Result<Secrets> {
    let mut bytes = Zeroizing::new(Vec::new());
    open(number, OpenOptions::new().read(true))?.take(MOST).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(Secrets::new());
    }
    // The parser's error would repeat what it did not like.
    let plain: BTreeMap<String, String> =
        serde_json::from_slice(&bytes).map_err(|_| std::io::Error::other("it is damaged"))?;
    Ok(plain.into_iter().map(|(name, value)| (name, Zeroizing::new(value))).collect())
}

fn open(number: i32, options: &OpenOptions) -> std::io::Result<File> {
    options.open(format!("/proc/self/fd/{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded_and_can_be_emptied() {
        let read = |name: &str| match name {
            "CUSTODY_API_KEY" => Ok("[a, \"b\"]\n".to_owned()),
            "CUSTODY_ADMIN_PASSWORD" => Ok(String::new()),
            _ => Err(VarError::NotPresent),
        };
        let secrets = given(read).unwrap();
        assert_eq!(secrets.len(), 2);
        let number = store(&secrets).unwrap();
        assert_eq!(load(number).unwrap(), secrets);
        open(number, OpenOptions::new().write(true).truncate(true)).unwrap();
        assert!(load(number).unwrap().is_empty());
        open(number, OpenOptions::new().write(true)).unwrap().write_all(b"hush").unwrap();
        let error = load(number).unwrap_err().to_string();
        assert!(error.contains("damaged") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn a_secret_that_is_refused_is_not_repeated() {
        use std::os::unix::ffi::OsStringExt;
        let broken = |_: &str| Err(VarError::NotUnicode(std::ffi::OsString::from_vec(b"hush\xff".to_vec())));
        let error = given(broken).unwrap_err().to_string();
        assert!(error.contains("UTF-8") && !error.contains("hush"), "{error}");
    }
}
