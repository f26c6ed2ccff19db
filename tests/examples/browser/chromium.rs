//! Chromium, used through its window and keyboard.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use thirtyfour::ChromiumLikeCapabilities;
use thirtyfour::prelude::*;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use support::folder::{Folder, target};

/// How long a test waits for the page to change, and how often it looks.
const AT_MOST: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_millis(50);

pub(crate) struct Browser {
    driver: WebDriver,
    // In this order: the profile is removed after the processes that write to it are killed.
    _chromedriver: Chromedriver,
    _profile: Folder,
}

/// The leader of a process group, which Chromium belongs to as well.
struct Chromedriver(Child);

impl Browser {
    /// Starts Chromium with a profile of its own. Each test needs another `name`.
    pub(crate) async fn start(name: &str) -> Self {
        let profile = Folder::new(&format!("browser-{name}"));
        let (chromedriver, port) = start_chromedriver().await;
        let mut options = DesiredCapabilities::chrome();
        let directory = format!("--user-data-dir={}", profile.path().display());
        // Without a sandbox, because tests may run as root. They open only the demo's page.
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            &directory,
        ] {
            options.add_arg(argument).expect("an argument");
        }
        let url = format!("http://127.0.0.1:{port}");
        let driver = WebDriver::new(url, options).await.expect("chromium: see tests/run");
        // Its drop would ask the driver to close the browser, and wait too long if a test failed.
        driver.clone().leak().expect("a session");
        Self { driver, _chromedriver: chromedriver, _profile: profile }
    }

    pub(crate) async fn open(&self, url: &str) {
        self.driver.goto(url).await.expect("a page");
    }

    /// Waits until the element shows the text.
    pub(crate) async fn sees(&self, id: &str, text: &str) {
        let shown = async {
            // The page may be loading, or its script may be replacing the element.
            while !self.try_text(id).await.is_some_and(|shown| shown.contains(text)) {
                tokio::time::sleep(EVERY).await;
            }
        };
        let seen = timeout(AT_MOST, shown).await.is_ok();
        assert!(seen, "`{text}` did not appear in #{id}: {:?}", self.try_text(id).await);
    }

    pub(crate) async fn text(&self, id: &str) -> String {
        self.try_text(id).await.expect("the element")
    }

    async fn try_text(&self, id: &str) -> Option<String> {
        self.driver.find(By::Id(id)).await.ok()?.text().await.ok()
    }

    /// Clicks the link or the button with this label, once it exists.
    pub(crate) async fn click(&self, label: &str) {
        let control = format!("//*[self::a or self::button][normalize-space() = '{label}']");
        let control = self.driver.query(By::XPath(control)).wait(AT_MOST, EVERY).first().await;
        control.expect(label).click().await.expect("a click");
    }

    /// Presses Tab until this control has the focus. The focus must be visible at every stop.
    pub(crate) async fn tab_to(&self, label: &str) {
        for _ in 0..20 {
            self.press(Key::Tab).await;
            let outline = "const style = getComputedStyle(document.activeElement);
                           return [document.activeElement.innerText.trim(), style.outlineStyle,
                                   parseFloat(style.outlineWidth), document.activeElement.tagName]";
            let focus = self.ask(outline).await;
            if focus[3] == "BODY" {
                continue;
            }
            assert_eq!(focus[1], "solid", "the focus is not visible: {focus}");
            assert!(focus[2].as_f64() >= Some(2.0), "the focus is not visible: {focus}");
            if focus[0].as_str().is_some_and(|text| text.starts_with(label)) {
                return;
            }
        }
        panic!("the keyboard does not reach `{label}`");
    }

    pub(crate) async fn press_enter(&self) {
        self.press(Key::Enter).await;
    }

    async fn press(&self, key: Key) {
        self.driver.action_chain().send_keys(key + "").perform().await.expect("a key");
    }

    /// Runs a script in the page, and returns its result.
    pub(crate) async fn ask(&self, script: &str) -> Value {
        self.driver.execute(script, Vec::new()).await.expect("an answer").json().clone()
    }

    pub(crate) async fn set_cookie(&self, name: &str, value: &str) {
        let url = self.driver.current_url().await.expect("an URL").to_string();
        let cookie = json!({ "name": name, "value": value, "url": url });
        let set = self.command("Network.setCookie", cookie).await;
        assert_eq!(set["success"], true, "{set}");
    }

    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Sets the preferred colour scheme: `light` or `dark`.
    pub(crate) async fn prefer(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.command("Emulation.setEmulatedMedia", json!({ "features": [feature] })).await;
    }

    pub(crate) async fn disable_script(&self) {
        self.command("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    }

    /// Checks that nothing is cut off at the side, and that each control is on the screen and large
    /// enough for a finger.
    pub(crate) async fn fits(&self, width: u32) {
        let measure = "const controls = [...document.querySelectorAll('main a, main button')];
                       const { scrollWidth, clientWidth } = document.documentElement;
                       return [innerWidth, scrollWidth - clientWidth, controls.map((control) => {
                         const { left, right, height } = control.getBoundingClientRect();
                         return [control.innerText, left, right, height];
                       })]";
        let measured = self.ask(measure).await;
        assert_eq!(measured[0], width);
        assert_eq!(measured[1], 0, "the page scrolls sideways: {measured}");
        for control in measured[2].as_array().expect("controls") {
            let number = |index: usize| control[index].as_f64().expect("a number");
            assert!(number(1) >= 0.0 && number(2) <= f64::from(width), "out of reach: {control}");
            assert!(number(3) >= 24.0, "too small: {control}");
        }
    }

    /// Saves the whole page to `target/screenshots`.
    pub(crate) async fn screenshot(&self, name: &str) {
        let folder = target().join("screenshots");
        fs::create_dir_all(&folder).expect("a folder");
        let whole = json!({ "captureBeyondViewport": true });
        let taken = self.command("Page.captureScreenshot", whole).await;
        let image = taken["data"].as_str().expect("an image");
        let image = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, image);
        fs::write(folder.join(format!("{name}.png")), image.expect("base 64")).expect("it is kept");
    }

    async fn command(&self, method: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(method, parameters).await.expect(method)
    }
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        let Some(group) = self.0.id() else { return };
        let kill = format!("kill -KILL -{group}");
        let _ = std::process::Command::new("sh").args(["-c", &kill]).status();
    }
}

/// Starts chromedriver on a free port, and returns the port. If many start at once, two may choose
/// the same port. One of these ends, and is started again.
async fn start_chromedriver() -> (Chromedriver, u16) {
    const TRIES: usize = 20;
    let mut printed = String::new();
    for _ in 0..TRIES {
        let started = timeout(AT_MOST, try_start_chromedriver()).await;
        match started.expect("chromedriver prints its port, or ends") {
            Ok(started) => return started,
            Err(output) => printed = output,
        }
    }
    panic!("chromedriver ended at once, {TRIES} times: {printed}");
}

/// Returns its output if it ends before it prints a port.
async fn try_start_chromedriver() -> Result<(Chromedriver, u16), String> {
    let mut chromedriver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("chromedriver: install it (on Debian: apt-get install chromium-driver)");
    let mut output = BufReader::new(chromedriver.stdout.take().expect("its output")).lines();
    let chromedriver = Chromedriver(chromedriver);
    let mut printed = String::new();
    while let Some(line) = output.next_line().await.expect("text") {
        let port = line.strip_prefix("ChromeDriver was started successfully on port ");
        if let Some(port) = port.and_then(|port| port.trim_end_matches('.').parse().ok()) {
            return Ok((chromedriver, port));
        }
        printed += &line;
        printed.push('\n');
    }
    Err(printed)
}
