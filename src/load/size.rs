use crate::base::Rng;
#[derive(Clone, Debug)]
pub struct Sizes(pub u32);
impl Sizes { pub fn max(&self)->u32{self.0} pub fn sample(&self,_r:&mut Rng)->u32{self.0} }
