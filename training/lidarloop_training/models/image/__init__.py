"""Image encoders: pictures → feature maps of several levels; frozen while a point network learns from them."""
