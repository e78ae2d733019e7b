//! A stand-in for AWS (KMS, STS, IAM, S3) on loopback, for as long as the tests run.

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{Failure, python::Venv, target};

/// How long it may take to come up. It takes under 3 s where nothing else runs.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running stand-in; it ends when this is dropped.
pub(crate) struct Cloud {
    child: Child,
    endpoint: String,
}

impl Cloud {
    /// Starts it on a free port and waits until it answers.
    pub(crate) fn start(venv: &Venv) -> Result<Self, Failure> {
        // Free now; if another process takes the port before the stand-in does, the stand-in ends and we say so.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let log = target().join("ministack.log");
        let output = File::create(&log)?;
        let child = venv
            .command("ministack")
            .env("AUTH", "true")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("GATEWAY_PORT", port.to_string())
            .env("BIND_HOST", "127.0.0.1")
            .env("SFTP_ENABLED", "0")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let mut cloud = Self { child, endpoint: format!("http://127.0.0.1:{port}") };
        let began = Instant::now();
        while !is_healthy(port) {
            if let Some(status) = cloud.child.try_wait()? {
                return Err(format!("the stand-in for AWS ended ({status}): see {}", log.display()).into());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("the stand-in for AWS did not come up: see {}", log.display()).into());
            }
            sleep(Duration::from_millis(100));
        }
        cloud.make_bucket(venv)?;
        Ok(cloud)
    }

    /// Makes the bucket that the store's conformance suite runs in.
    fn make_bucket(&self, venv: &Venv) -> Result<(), Failure> {
        let mut aws = venv.command("aws");
        aws.args(["s3api", "create-bucket", "--bucket", "custody-test", "--region", "us-east-1"]);
        aws.args(["--endpoint-url", &self.endpoint]);
        aws.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").stdout(Stdio::null());
        crate::steps::run(&mut aws)
    }

    /// Its address.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // A failure means that it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /_ministack/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
