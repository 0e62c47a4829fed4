"""`python -m ultracore.distillation.products FOLDER`: write the page of each product from its contract."""

import sys
from pathlib import Path

from ultracore.distillation.products.catalogue import page_of
from ultracore.distillation.products.contract import PRODUCT_IDS, contract_of

for product_id in PRODUCT_IDS:
    (Path(sys.argv[1]) / f"{product_id}.md").write_text(page_of(contract_of(product_id)), encoding="utf-8")
