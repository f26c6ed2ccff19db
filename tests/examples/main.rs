//! The examples as a stranger meets them: processes of their own, real sockets, and a browser.

// The demo's page in Chromium.
mod browser;
// The demo over HTTP.
mod demo;
// The reverse proxy between real sockets.
mod reverse_proxy;
// The shortest examples end when they are told to.
mod shutdown;
