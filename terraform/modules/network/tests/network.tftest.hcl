mock_provider "aws" {}

variables {
  name  = "pool"
  zones = ["eu-x-1a", "eu-x-1b", "eu-x-1c"]
}

run "subnets_do_not_overlap_and_nat_is_in_every_zone" {
  command = plan

  assert {
    condition     = length(distinct(concat(values(aws_subnet.private)[*].cidr_block, values(aws_subnet.public)[*].cidr_block))) == 6
    error_message = "each of the six subnets must have a network of its own"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 3
    error_message = "each zone must have a NAT gateway of its own"
  }
}

run "one_nat_serves_all_zones_when_asked" {
  command = plan

  variables {
    nat_per_zone = false
  }

  assert {
    condition     = keys(aws_nat_gateway.this) == ["eu-x-1a"]
    error_message = "only the first zone must have a NAT gateway"
  }
}

run "the_default_security_group_is_closed" {
  command = apply

  assert {
    condition     = length(aws_default_security_group.closed.ingress) == 0 && length(aws_default_security_group.closed.egress) == 0
    error_message = "the default security group must have no rules"
  }
}

run "one_zone_is_refused" {
  command = plan

  variables {
    zones = ["eu-x-1a"]
  }

  expect_failures = [var.zones]
}

run "a_network_too_small_is_refused" {
  command = plan

  variables {
    cidr = "10.0.0.0/24"
  }

  expect_failures = [var.cidr]
}
