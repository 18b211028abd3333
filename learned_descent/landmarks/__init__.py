"""Any points in any picture: markups, crops, augmentation, errors."""
