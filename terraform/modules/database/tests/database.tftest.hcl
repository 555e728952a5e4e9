mock_provider "aws" {
  mock_resource "aws_kms_key" {
    defaults = {
      arn    = "arn:aws:kms:eu-x-1:111122223333:key/00000000-0000-0000-0000-000000000000"
      key_id = "00000000-0000-0000-0000-000000000000"
    }
  }
}

variables {
  name                     = "pool"
  vpc_id                   = "vpc-1"
  subnet_ids               = ["subnet-a", "subnet-b"]
  client_security_group_id = "sg-nodes"
}

run "the_database_is_private_encrypted_and_in_two_zones" {
  command = plan

  assert {
    condition     = aws_db_instance.this.storage_encrypted && aws_db_instance.this.multi_az && !aws_db_instance.this.publicly_accessible
    error_message = "the database must be encrypted, in two zones and private"
  }

  assert {
    condition     = one([for p in aws_db_parameter_group.this.parameter : p.value if p.name == "rds.force_ssl"]) == "1"
    error_message = "connections must be encrypted"
  }

  assert {
    condition     = aws_db_instance.this.engine == "postgres" && aws_db_instance.this.engine_version == "18"
    error_message = "the platform needs PostgreSQL 18"
  }
}

run "the_password_never_passes_through_terraform" {
  command = plan

  assert {
    condition     = aws_db_instance.this.manage_master_user_password && aws_db_instance.this.password == null
    error_message = "the password must be made and kept by Secrets Manager"
  }
}

run "data_survives_a_mistake" {
  command = plan

  assert {
    condition     = aws_db_instance.this.deletion_protection && !aws_db_instance.this.skip_final_snapshot && aws_db_instance.this.backup_retention_period == 35
    error_message = "deletion must be refused, and backups kept"
  }
}

run "only_the_cluster_may_connect" {
  command = plan

  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.cluster.referenced_security_group_id == "sg-nodes"
      && aws_vpc_security_group_ingress_rule.cluster.from_port == 5432
      && aws_vpc_security_group_ingress_rule.cluster.to_port == 5432
      && aws_vpc_security_group_ingress_rule.cluster.cidr_ipv4 == null
    )
    error_message = "only the cluster's nodes may reach the database, on its port"
  }
}

run "too_few_backups_are_refused" {
  command = plan

  variables {
    backup_days = 1
  }

  expect_failures = [var.backup_days]
}
