//! A closure as a service, for servers that need no more.

use super::{Cx, Frame, Peer, Replied, Reply, Service};

/// A service that is one function of the frame. Made by `Server::serve_fn`.
#[derive(Clone, Debug)]
pub struct FnService<F>(pub F);

impl<F> Service for FnService<F>
where
    F: for<'a, 'b> FnMut(Frame<'a>, Reply<'b>) -> Replied,
{
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    #[inline]
    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, _cx: &mut Cx<'_>) -> Replied {
        (self.0)(frame, reply)
    }
}
